"""Writing on from a text: what may come next, which of it is drawn, and the stream of what was drawn.

    settings   SamplingSettings: every control of the sampler, immutable
    filters    the chain from scores to the tokens that may be drawn; penalties, dry and xtc are links of it
    utf8       which tokens may follow so that the text stays valid UTF-8
    sampler    one draw: mask, filters, keyed randomness, alternatives
    context    the model's state over a text of any length
    stops      stop strings across token boundaries
    sentences  whether a text ends where a sentence does
    stream     generate(): the tokens of a continuation, one after another
    infilling  infill(): the same between two texts

Nothing is imported here: the settings alone must not cost the import of torch.
"""
