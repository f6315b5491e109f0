"""Where arrays lie on a mesh, and what a parameter is by its name."""
