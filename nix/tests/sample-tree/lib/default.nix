throw "the tree's own lib is not used"
