"""What starts and watches processes somewhere; one file per kind of place."""
