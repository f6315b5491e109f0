"""The places of arrays on a mesh, the kinds of parameters, and other parts that all rooms share."""
