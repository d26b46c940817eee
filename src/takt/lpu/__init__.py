"""The LPU: instruction set, machine, compiler."""
