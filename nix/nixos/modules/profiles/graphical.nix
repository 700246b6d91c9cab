# Accepted for compatibility: what the profile sets is given, or not there, in these machines.
{ }
