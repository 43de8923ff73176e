//! Images for a Node's status, in the kubelet's measure: the scheduler prefers nodes that have a pod's images.

use outrigger_plugin::Image;
use serde_json::Value;
use serde_json::json;
use std::cmp::Reverse;

/// As the kubelet's `nodeStatusMaxImages`.
const MAX_IMAGES: usize = 50;
/// As the kubelet's `MaxNamesPerImageInNodeStatus`.
const MAX_NAMES: usize = 5;

/// `status.images`: the largest ones. The same images give the same list.
pub fn of_status(mut images: Vec<Image>) -> Vec<Value> {
    images.sort_by(|a, b| (Reverse(a.size_bytes), &a.names).cmp(&(Reverse(b.size_bytes), &b.names)));
    let images = images.into_iter().filter(|image| !image.names.is_empty());
    let entry = |mut image: Image| {
        image.names.truncate(MAX_NAMES);
        match image.size_bytes {
            // The API server leaves it out as well.
            0 => json!({ "names": image.names }),
            size => json!({ "names": image.names, "sizeBytes": size }),
        }
    };
    images.take(MAX_IMAGES).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, size_bytes: u64) -> Image {
        Image {
            names: vec![name.to_owned()],
            size_bytes,
        }
    }

    #[test]
    fn the_largest_come_first_and_no_more_than_fifty() {
        let mut images: Vec<_> = (1..=60).map(|number| image(&format!("i{number}"), number)).collect();
        images.push(image("also", 60));
        images.push(Image {
            names: Vec::new(),
            size_bytes: 1_000,
        });
        let listed = of_status(images.clone());
        assert_eq!(listed.len(), 50);
        assert_eq!(listed[0], json!({ "names": ["also"], "sizeBytes": 60 }));
        assert_eq!(listed[1]["names"], json!(["i60"]));
        assert_eq!(listed[49]["names"], json!(["i12"]));
        images.reverse();
        assert_eq!(of_status(images), listed);
    }

    #[test]
    fn an_image_has_five_names_at_most_and_may_have_no_size() {
        let names = (0..9).map(|number| number.to_string()).collect();
        let listed = of_status(vec![Image { names, size_bytes: 0 }]);
        assert_eq!(listed, [json!({ "names": ["0", "1", "2", "3", "4"] })]);
    }
}
