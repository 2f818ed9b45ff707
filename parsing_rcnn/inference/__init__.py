"""How graphs are run: threads and cores, other inferences beside, one picture at two sizes."""
