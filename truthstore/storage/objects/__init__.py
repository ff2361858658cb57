"""Records as objects: documents, their names, and the interface of the blobs under them."""
