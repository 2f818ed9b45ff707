"""How graphs are run: threads and cores, contention with other inferences, one picture at two sizes."""
