"""From arguments and config files to checked settings; a mistake becomes an error of two lines."""
