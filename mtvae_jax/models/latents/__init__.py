"""The latents: each turns encoder features into z and has loss terms of its own. A new one is a file
here and a case in `models.build_model`.

A latent is a Flax module with

    __call__(features, keys, train) -> LatentOutput     features [B, h, w, F]; keys [B] or None for no sampling noise
    prior_sample(key, num) -> z [num, …]                 from the prior p(z) that needs no training
    term_shapes                                          name → shape an image of each of its terms
    objective(terms, beta) -> [B]                        its part of the loss, from its terms
    statistics(posterior) -> {name: [B, …]}              what evaluation averages besides its terms
    varying                                              the names of those whose variance over a split is wanted, too:
                                                         `NAME_variance` among the means
    metrics(means, beta) -> {name: number}               what is reported, from the means over a split; in training
                                                         there are means of its terms alone
    after_update(before, params, stats)                  its parameters and statistics after the optimiser's step, from
                                                         the parameters before and after it

The last six see no parameters of their own and so work outside of `apply`.
"""
