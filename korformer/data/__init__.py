"""Documents as tokens on disk, and packs of them for training.

documents ──build_store──▶ TokenStore ──PackSampler──▶ Packs, endless, its place savable at any moment
                                      └──epoch_packs─▶ Packs, one pass in order
"""
