"""Who is who from frame to frame: numbers for people, by where they are and by what they look like."""
