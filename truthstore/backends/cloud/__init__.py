"""The parts that the object storage backends share."""
