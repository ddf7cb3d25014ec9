"""Where the files of exports are kept, sealed: a folder, or a bucket of an object store."""
