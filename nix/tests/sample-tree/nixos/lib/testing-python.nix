args: throw "the tree's own testing library is not used"
