"""A plan before the spend: what a config takes on a topology, from the real step and the chip's own compiler.

    topologies   chips, the slices that are sold, prices, watts      (no jax)
    work         what a step does, from the config alone
    cost         from work to seconds, hours, money, energy
    compile      the real step through libtpu: memory, collectives
    layouts      what else could be done, ranked; `auto`
    planner      one plan out of these; touches no file, changes nothing
    report       lines, JSON, the README's table
    command      what `jaxbert plan` does

Nothing is imported here: the command line names chips without jax.
"""
