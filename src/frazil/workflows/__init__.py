"""One file a command: paths and settings in, files and a manifest out. The only place where effects meet."""
