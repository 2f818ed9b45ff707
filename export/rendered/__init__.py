"""Pictures of rendered people for checks that must run anywhere."""
