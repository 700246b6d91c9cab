throw "the library has services.nginx"
