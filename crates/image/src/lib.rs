//! Writers of images: erofs, cpio, empty ext4.
