# Accepted for compatibility: machines are described by the options virtualisation.*, which are always there.
{ }
