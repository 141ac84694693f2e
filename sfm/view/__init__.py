"""Pictures of a reconstruction: an Open3D window, tracks on a plate, plans of the set."""
