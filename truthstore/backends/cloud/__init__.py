"""What the object storage backends share."""
