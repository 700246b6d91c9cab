{ networking.domain = "example"; }
