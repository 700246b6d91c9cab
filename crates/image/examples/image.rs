//! `image erofs OUT FOLDER`: an erofs image of a folder. `image ext4 OUT MIB`: an empty ext4 file system.
//! `image unpack IMAGE FOLDER`: unpacks an erofs image.

use nbv_image::{Content, ErofsImage, ErofsOptions, Kind, Node, Tree, ext4, write_erofs};
use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};
use std::path::{Path, PathBuf};

fn add(tree: &mut Tree, root: &Path, at: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for entry in std::fs::read_dir(at)? {
        let path = entry?.path();
        let m = std::fs::symlink_metadata(&path)?;
        let kind = if m.is_dir() {
            add(tree, root, &path)?;
            Kind::Dir
        } else if m.is_symlink() {
            Kind::Symlink(std::fs::read_link(&path)?.as_os_str().as_bytes().to_vec())
        } else {
            Kind::File(Content::Path { path: path.clone(), len: m.len() })
        };
        let node = Node::new((m.mode() & 0o7777) as u16, kind).owned(m.uid(), m.gid());
        tree.insert(path.strip_prefix(root)?.as_os_str().as_bytes(), node)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["erofs", out, folder] => {
            let mut tree = Tree::new();
            add(&mut tree, Path::new(folder), Path::new(folder))?;
            println!("{} bytes", write_erofs(Path::new(out), tree, ErofsOptions::default())?);
        }
        ["ext4", out, mib] => {
            let o = ext4::Ext4Options { uuid: [1; 16], label: "root".into(), time: 0, journal: true };
            ext4::make_ext4(Path::new(out), mib.parse::<u64>()? << 20, &o)?;
        }
        ["unpack", image, folder] => ErofsImage::open(Path::new(image))?.unpack(&PathBuf::from(folder))?,
        _ => return Err("usage: image erofs OUT FOLDER | ext4 OUT MIB | unpack IMAGE FOLDER".into()),
    }
    Ok(())
}
