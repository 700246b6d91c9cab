# The modules of networking, programs, services and virtualisation.
[
]
