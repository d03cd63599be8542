//! Layers and a config become one platform's image: pure.

use std::collections::BTreeMap;

use archway_graph::Output;
use archway_oci::{Descriptor, History, ImageConfig, Manifest, json, media_type};
use jiff::Timestamp;

use crate::Layer;

/// Comment of a base layer of which the base's history says nothing.
const NO_HISTORY: &str = "the base image has no history of this layer";

/// A layer made by this build, and when its files were made.
#[derive(Debug, Clone)]
pub(crate) struct MadeLayer {
    pub(crate) layer: Layer,
    pub(crate) created: Timestamp,
}

/// The documents of one platform's image.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) config: ImageConfig,
    pub(crate) config_bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) manifest_bytes: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
}

/// Puts `made` on top of `base_layers`.
///
/// Times come from the layers, not from the clock, so that a build that only finds things in its
/// cache gives the same digest again; `epoch` (`SOURCE_DATE_EPOCH`) replaces them all.
pub(crate) fn documents(
    output: &Output,
    base: Option<&ImageConfig>,
    base_layers: Vec<Layer>,
    made: Vec<MadeLayer>,
    epoch: Option<Timestamp>,
    annotations: BTreeMap<String, String>,
) -> Documents {
    let mut config = output.config.clone();
    config.rootfs.diff_ids = base_layers
        .iter()
        .chain(made.iter().map(|made| &made.layer))
        .map(|layer| layer.diff_id.clone())
        .collect();
    let inherited = account_for(&base_layers, base.map_or(0, |base| base.history.len()), &mut config);
    set_times(&mut config, base, inherited, &made, epoch);

    let layers: Vec<Layer> = base_layers.into_iter().chain(made.into_iter().map(|made| made.layer)).collect();
    let config_bytes = json::to_vec(&config);
    let mut manifest = Manifest::new(
        Descriptor::of(media_type::OCI_CONFIG, &config_bytes),
        layers.iter().map(|layer| as_oci(&layer.descriptor)).collect(),
    );
    manifest.annotations = annotations;
    let manifest_bytes = json::to_vec(&manifest);
    Documents { config, config_bytes, manifest, manifest_bytes, layers }
}

/// Makes the history's first `inherited` entries, which are the base's, speak of as many layers as the
/// base has; tools that pair them with layers need that. Some builders leave entries out. Returns how
/// many are the base's then.
fn account_for(base_layers: &[Layer], inherited: usize, config: &mut ImageConfig) -> usize {
    let inherited = inherited.min(config.history.len());
    let mut missing = base_layers.len();
    for entry in config.history.iter_mut().take(inherited).filter(|entry| !entry.empty_layer) {
        entry.empty_layer = missing == 0;
        missing = missing.saturating_sub(1);
    }
    let unknown = History { comment: Some(NO_HISTORY.into()), ..History::default() };
    config.history.splice(inherited..inherited, std::iter::repeat_n(unknown, missing));
    inherited + missing
}

/// History entries above the base's get the time of their layer; entries without a layer that of the
/// one before, or of the first new layer where none is before, as in BuildKit. An image without a layer
/// of its own is as old as its base; without a base, too, it has no age.
fn set_times(
    config: &mut ImageConfig,
    base: Option<&ImageConfig>,
    inherited: usize,
    made: &[MadeLayer],
    epoch: Option<Timestamp>,
) {
    let of_base = || base.and_then(|base| base.created.as_deref()?.parse().ok());
    let mut latest = epoch.or_else(|| made.first().map(|layer| layer.created)).or_else(of_base);
    let mut made = made.iter();
    for entry in config.history.iter_mut().skip(inherited) {
        if !entry.empty_layer
            && let Some(made) = made.next()
        {
            latest = epoch.or(Some(made.created));
        }
        entry.created = latest.map(|time| time.to_string());
    }
    config.created = latest.map(|time| time.to_string());
}

/// Base layers of Docker images keep their bytes; only the name of their type changes, since the
/// manifest is an OCI one.
fn as_oci(descriptor: &Descriptor) -> Descriptor {
    let media_type = match descriptor.media_type.as_str() {
        media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        media_type::DOCKER_LAYER_ZSTD => media_type::OCI_LAYER_ZSTD,
        other => other,
    };
    Descriptor { media_type: media_type.to_owned(), ..descriptor.clone() }
}

#[cfg(test)]
mod tests {
    use archway_graph::NodeId;
    use archway_oci::{Digest, Platform};
    use archway_report::Strategy;

    use super::*;

    fn layer(media_type: &str, content: &str) -> Layer {
        Layer {
            descriptor: Descriptor::of(media_type, content.as_bytes()),
            diff_id: Digest::sha256(content.as_bytes()),
            origin: None,
        }
    }

    fn entry(by: &str, empty_layer: bool) -> History {
        History { created_by: Some(by.into()), empty_layer, ..History::default() }
    }

    fn output(history: Vec<History>) -> Output {
        Output {
            platform: Platform::default(),
            node: NodeId(0),
            base: None,
            layers: Vec::new(),
            config: ImageConfig { history, ..ImageConfig::default() },
            strategy: Strategy::Native,
            reason: String::new(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn times_come_from_the_layers() {
        let base = ImageConfig {
            created: Some("2001-01-01T00:00:00Z".into()),
            history: vec![History { created: Some("kept".into()), ..entry("base", false) }],
            ..ImageConfig::default()
        };
        let history = vec![
            base.history[0].clone(),
            entry("ENV", true),
            entry("RUN one", false),
            entry("CMD", true),
            entry("RUN two", false),
        ];
        let made = [(1000, "one"), (2000, "two")].map(|(time, text)| MadeLayer {
            layer: layer(media_type::OCI_LAYER_GZIP, text),
            created: at(time),
        });
        let base_layers = vec![layer(media_type::DOCKER_LAYER_GZIP, "base")];
        let built =
            documents(&output(history), Some(&base), base_layers, made.to_vec(), None, BTreeMap::new());
        let times: Vec<&str> = built.config.history.iter().filter_map(|h| h.created.as_deref()).collect();
        assert_eq!(
            times,
            [
                "kept",
                "1970-01-01T00:16:40Z",
                "1970-01-01T00:16:40Z",
                "1970-01-01T00:16:40Z",
                "1970-01-01T00:33:20Z"
            ]
        );
        assert_eq!(built.config.created.as_deref(), Some("1970-01-01T00:33:20Z"));
        assert_eq!(built.config.rootfs.diff_ids.len(), 3);
        assert!(built.manifest.layers.iter().all(|layer| layer.media_type == media_type::OCI_LAYER_GZIP));
    }

    #[test]
    fn an_image_without_layers_of_its_own_is_as_old_as_its_base() {
        let base = ImageConfig { created: Some("2001-01-01T00:00:00Z".into()), ..ImageConfig::default() };
        let output = output(vec![entry("ENV", true)]);
        let built = documents(&output, Some(&base), Vec::new(), Vec::new(), None, BTreeMap::new());
        assert_eq!(built.config.created, base.created);
        assert_eq!(built.config.history[0].created, base.created);
    }

    #[test]
    fn the_history_accounts_for_every_layer_of_the_base() {
        for known in 0..4 {
            let history = vec![entry("base", false); known];
            let base = ImageConfig { history: history.clone(), ..ImageConfig::default() };
            let base_layers = ["a", "b"].map(|text| layer(media_type::OCI_LAYER_GZIP, text)).to_vec();
            let made = vec![MadeLayer { layer: layer(media_type::OCI_LAYER_GZIP, "x"), created: at(5) }];
            let history = [history, vec![entry("RUN", false)]].concat();
            let built = documents(&output(history), Some(&base), base_layers, made, None, BTreeMap::new());
            let of_layers: Vec<&History> = built.config.history.iter().filter(|h| !h.empty_layer).collect();
            assert_eq!(of_layers.len(), 3, "{known} entries");
            assert_eq!(of_layers[2].created.as_deref(), Some("1970-01-01T00:00:05Z"));
        }
    }

    #[test]
    fn the_epoch_replaces_every_time_of_ours() {
        let made =
            vec![MadeLayer { layer: layer(media_type::OCI_LAYER_GZIP, "x"), created: Timestamp::now() }];
        let history = vec![entry("RUN", false), entry("CMD", true)];
        let built = documents(&output(history), None, Vec::new(), made, Some(at(60)), BTreeMap::new());
        assert!(built.config.history.iter().all(|h| h.created.as_deref() == Some("1970-01-01T00:01:00Z")));
        assert_eq!(built.config.created.as_deref(), Some("1970-01-01T00:01:00Z"));
    }

    #[test]
    fn the_manifest_describes_the_exact_bytes_of_the_config() {
        let built = documents(&output(Vec::new()), None, Vec::new(), Vec::new(), None, BTreeMap::new());
        assert_eq!(built.manifest.config, Descriptor::of(media_type::OCI_CONFIG, &built.config_bytes));
        assert_eq!(Manifest::parse(&built.manifest_bytes).unwrap(), built.manifest);
    }
}
