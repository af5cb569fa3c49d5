//! Truth as COCO keypoints: one JSON file that training tools read.
//!
//! Five keypoints a face, in the order and under the names that YuNet's authors use (the person's own right and left); boxes are x, y,
//! width, height in pixels. What COCO has no place for stands in each annotation's `attributes`.

use serde_json::{Value, json};

use super::truth::FaceTruth;

/// Collects images and their faces.
#[derive(Default)]
pub struct Labels {
    images: Vec<Value>,
    annotations: Vec<Value>,
}

const KEYPOINTS: [&str; 5] = ["right_eye", "left_eye", "nose", "right_mouth_corner", "left_mouth_corner"];

impl Labels {
    /// Adds the image `file_name` with its faces.
    pub fn add(&mut self, file_name: &str, (width, height): (u32, u32), faces: &[FaceTruth]) {
        let image_id = self.images.len() + 1;
        self.images.push(json!({ "id": image_id, "file_name": file_name, "width": width, "height": height }));
        for face in faces {
            let b = face.bounding_box;
            // 2: visible; 1: labelled, but outside the picture or hidden.
            let seen = |x: f32, y: f32| x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32 && face.visible > 0.5;
            let keypoints: Vec<Value> =
                face.landmarks.iter().flat_map(|p| [json!(p.x), json!(p.y), json!(if seen(p.x, p.y) { 2 } else { 1 })]).collect();
            self.annotations.push(json!({
                "id": self.annotations.len() + 1,
                "image_id": image_id,
                "category_id": 1,
                "bbox": [b.x0, b.y0, b.width(), b.height()],
                "area": b.width() * b.height(),
                "iscrowd": 0,
                "keypoints": keypoints,
                "num_keypoints": KEYPOINTS.len(),
                "attributes": {
                    "identity": face.identity,
                    "mask": face.mask,
                    "yaw_deg": face.yaw_deg,
                    "visible": face.visible,
                    "area": face.area,
                },
            }));
        }
    }

    pub fn images(&self) -> usize {
        self.images.len()
    }
    pub fn faces(&self) -> usize {
        self.annotations.len()
    }

    /// The whole file. `about` says how it was made.
    pub fn into_json(self, about: &str) -> Value {
        json!({
            "info": { "description": about },
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{ "id": 1, "name": "face", "keypoints": KEYPOINTS, "skeleton": [] }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{BoundingBox, Point};

    #[test]
    fn a_face_becomes_an_annotation() {
        let point = |x: f32| Point { x, y: 20.0 };
        let face = FaceTruth {
            identity: "rendered-7".to_owned(),
            bounding_box: BoundingBox { x0: 10.0, y0: 12.0, x1: 40.0, y1: 52.0 },
            landmarks: [point(18.0), point(30.0), point(24.0), point(-3.0), point(29.0)],
            mask: true,
            yaw_deg: 4.0,
            visible: 0.9,
            area: Some("signed".to_owned()),
            inside: 1.0,
            distance_cm: 300.0,
        };
        let mut labels = Labels::default();
        labels.add("a.jpg", (64, 64), &[]);
        labels.add("b.jpg", (64, 64), &[face]);
        assert_eq!((labels.images(), labels.faces()), (2, 1));
        let file = labels.into_json("test");
        let annotation = &file["annotations"][0];
        assert_eq!((&annotation["image_id"], &annotation["bbox"]), (&json!(2), &json!([10.0, 12.0, 30.0, 40.0])));
        assert_eq!(annotation["keypoints"].as_array().map(Vec::len), Some(15));
        assert_eq!((&annotation["keypoints"][2], &annotation["keypoints"][11]), (&json!(2), &json!(1)), "the fourth is outside");
        assert_eq!(annotation["attributes"]["mask"], json!(true));
    }
}
