//! How far models carry to photographs of real people: a folder that the operator names. Figures come out, no names and no templates.
//!
//! ```text
//! DIR/NAME_a.jpg  DIR/NAME_b.jpg …    the first of each name is the gallery's, the others are probes
//! DIR/NAME/…                          a folder for each person, in the same way
//! DIR.tsv                             optional: columns `file` and `face_box_x1y1x2y2`; then a box elsewhere finds nothing
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use serde::Serialize;

use super::figures::share;
use super::lab::{Lab, in_parallel};
use super::people::{Telling, Templates, tell};
use crate::embedding::Embedding;
use crate::frame::BoundingBox;

/// Boxes of different detectors differ; a face elsewhere does not overlap at all.
const SAME_IOU: f32 = 0.3;

#[derive(Debug, Serialize)]
pub struct Photographs {
    pub folder: PathBuf,
    pub pictures: usize,
    /// Files that are no pictures.
    pub unreadable: usize,
    pub found: usize,
    pub recall: f64,
    /// `None`: no embedder was measured, or nobody has two pictures.
    pub telling: Option<Telling>,
    /// Share of found faces that the mask classifier takes for masked; what they wear is not known. `None`: none was measured.
    pub said_masked: Option<f64>,
}

/// What one picture gave.
struct Seen {
    readable: bool,
    found: bool,
    template: Option<Embedding>,
    masked: Option<bool>,
}

/// The pictures in `folder`: name of the person, file.
pub fn list(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let entries = |folder: &Path| -> anyhow::Result<Vec<PathBuf>> {
        let read = std::fs::read_dir(folder).with_context(|| format!("{}: cannot be listed", folder.display()))?;
        let mut paths = read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    let is_picture = |path: &Path| {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        extension.is_some_and(|e| ["jpg", "jpeg", "png"].contains(&e.as_str()))
    };
    let name_of = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut all = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.extend(entries(&path)?.into_iter().filter(|p| is_picture(p)).map(|p| (name.clone(), p)));
        } else if is_picture(&path) {
            let stem = name_of(&path);
            let name = stem.rsplit_once('_').map_or(stem.as_str(), |(name, _)| name).to_owned();
            all.push((name, path));
        }
    }
    if all.is_empty() {
        bail!("{}: no JPEG or PNG files in it, nor in folders of it", folder.display());
    }
    Ok(all)
}

/// Where faces are, by file name, if a table beside the folder says so.
fn boxes(folder: &Path) -> HashMap<String, BoundingBox> {
    let text = std::fs::read_to_string(folder.with_extension("tsv")).unwrap_or_default();
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().unwrap_or_default();
    let column = |name: &str| head.iter().position(|c| *c == name);
    let (Some(file), Some(place)) = (column("file"), column("face_box_x1y1x2y2")) else { return HashMap::new() };
    let read = |cells: Vec<&str>| {
        let numbers: Vec<f32> = cells.get(place)?.split(',').filter_map(|n| n.trim().parse().ok()).collect();
        let [x0, y0, x1, y1] = *numbers.as_slice() else { return None };
        Some(((*cells.get(file)?).to_owned(), BoundingBox { x0, y0, x1, y1 }))
    };
    lines.filter_map(read).collect()
}

pub fn measure(labs: &mut [Lab], folder: &Path, pictures: &[(String, PathBuf)], bar: &ProgressBar) -> anyhow::Result<Photographs> {
    let boxes = boxes(folder);
    let seen = in_parallel(labs, pictures.len(), bar, &|lab, job| {
        let path = &pictures[job].1;
        let place = path.file_name().and_then(|name| boxes.get(name.to_string_lossy().as_ref()));
        look(lab, path, place)
    })?;
    let count = |of: &dyn Fn(&Seen) -> bool| seen.iter().filter(|s| of(s)).count();
    let (found, unreadable) = (count(&|s| s.found), count(&|s| !s.readable));
    let classified = count(&|s| s.masked.is_some());
    let said_masked = (classified > 0).then(|| share(count(&|s| s.masked == Some(true)), classified));
    let embeds = seen.iter().any(|s| s.template.is_some());
    let mut people: BTreeMap<&str, Templates> = BTreeMap::new();
    for ((name, _), seen) in pictures.iter().zip(seen) {
        match people.get_mut(name.as_str()) {
            Some(person) => person.probes.push(seen.template),
            None => drop(people.insert(name, Templates { gallery: seen.template, probes: Vec::new() })),
        }
    }
    let people: Vec<Templates> = people.into_values().collect();
    let telling = (embeds && people.iter().any(|p| !p.probes.is_empty())).then(|| tell(&people));
    let readable = pictures.len() - unreadable;
    Ok(Photographs {
        folder: folder.to_owned(),
        pictures: pictures.len(),
        unreadable,
        found,
        recall: share(found, readable),
        telling,
        said_masked,
    })
}

/// The best face in one file, or the best that lies where the face is known to be.
fn look(lab: &mut Lab, path: &Path, place: Option<&BoundingBox>) -> anyhow::Result<Seen> {
    let Ok(frame) = lab.frame_of_file(path) else {
        return Ok(Seen { readable: false, found: false, template: None, masked: None });
    };
    let faces = lab.faces(&frame)?;
    let fits = |place: &BoundingBox| faces.iter().find(|f| f.bounding_box.iou(place) >= SAME_IOU);
    let Some(face) = place.map_or(faces.first(), fits) else {
        return Ok(Seen { readable: true, found: false, template: None, masked: None });
    };
    Ok(Seen { readable: true, found: true, template: lab.embed(&frame, face)?, masked: lab.is_masked(&frame, face)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_by_the_name_of_their_files_or_folders() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let folder = directory.path().join("faces");
        std::fs::create_dir_all(folder.join("lee")).expect("made");
        for name in ["wu_a.jpg", "wu_b.JPG", "chen.png", "notes.txt", "lee/1.jpg", "lee/2.jpeg", "lee/list.txt"] {
            std::fs::write(folder.join(name), "").expect("written");
        }
        let names: Vec<String> = list(&folder).expect("listed").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["chen", "lee", "lee", "wu", "wu"]);
        assert!(list(&folder.join("none")).is_err());
        std::fs::write(directory.path().join("faces.tsv"), "file\tperson\tface_box_x1y1x2y2\nwu_a.jpg\twu\t1,2,3.5,4\nbad\n")
            .expect("written");
        let known = boxes(&folder);
        assert_eq!((known.len(), known["wu_a.jpg"]), (1, BoundingBox { x0: 1.0, y0: 2.0, x1: 3.5, y1: 4.0 }));
    }
}
