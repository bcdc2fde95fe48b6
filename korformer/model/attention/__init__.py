"""The attention kinds of a layer, each as a function of queries, keys and values alone."""
