"""Plans before the spend: the cost of a config on a topology, from the real step and the chip's compiler.

    topologies   chips, the slices that are sold, prices, watts      (no jax)
    work         the work of a step, computed only from the config
    cost         from work to seconds, hours, money, energy
    compile      the real step through libtpu: memory, collectives, cycles
    hlo          reads what it compiled
    layouts      other ways to run the config, ranked; `auto`
    planner      one plan made of these; touches no file, changes nothing
    report       lines, JSON, the table of docs/how-to/plan.md
    command      the command `jaxbert plan`

This file imports nothing, so that the command line can name chips without jax.
"""
