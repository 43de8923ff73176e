use crate::{external::Process, identity, pod_of, start};
use outrigger_plugin::{Images, Provider, testing::call};
use serde_json::json;

#[tokio::test]
async fn images_are_those_of_the_nodes_containers() {
    let process = Process::start();
    let configs = [
        json!({}),
        json!({"backend": {"kind": "external", "socket": process.socket()}}),
    ];
    let mut told = Vec::new();
    for config in configs {
        let (mock, _) = start(config).await;
        for (name, image) in [
            ("a", "registry.example/web:1"),
            ("b", "registry.example/web:1"),
            ("c", "db@sha256:0a"),
        ] {
            let manifest = json!({"containers": [{"name": "app", "image": image}]});
            mock.create(call(), pod_of(name, &[], manifest)).await.unwrap();
        }
        let manifest = json!({"containers": [{"name": "app", "image": "not:pulled"}]});
        mock.create(call(), pod_of("d", &[("startDelay", "never")], manifest))
            .await
            .unwrap();

        let images = mock.images(call(), identity("a").node).await.unwrap();
        let names: Vec<_> = images.iter().map(|image| image.names.as_slice()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(names[0], ["db@sha256:0a"]);
        assert!(names[1][0].starts_with("registry.example/web@sha256:"), "{names:?}");
        assert_eq!(names[1][1], "registry.example/web:1");
        assert!(images.iter().all(|image| image.size_bytes >= 1 << 20));
        assert!(mock.images(call(), "other".into()).await.unwrap().is_empty());
        told.push(images);
    }
    assert_eq!(told[0], told[1], "the same each time");
}
