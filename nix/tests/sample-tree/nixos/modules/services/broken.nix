throw "nobody asks for this module"
