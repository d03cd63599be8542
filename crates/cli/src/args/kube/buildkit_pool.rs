//! `archway kube render buildkit-pool`

use std::{fs, path::PathBuf, time::Duration};

use archway_kubernetes::pool::{PoolError, PoolSpec};
use archway_oci::platform;
use clap::Args;

use crate::{args::value, error::CliError};

/// `archway kube render buildkit-pool`
#[derive(Debug, Default, Args)]
pub(crate) struct BuildkitPoolArgs {
    /// What is to be built natively, comma-separated or repeated; linux only
    #[arg(
        long,
        visible_alias = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        required_unless_present = "values"
    )]
    platforms: Vec<String>,

    /// Values of the Helm chart archway-buildkit-pool, as YAML; flags win over them
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,

    /// What names of objects begin with [default: buildkitd]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Namespace of the objects [default: that of who applies them]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Rootless image of BuildKit [default: moby/buildkit:v0.32.2-rootless]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    /// Daemons of each architecture [default: 1]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,

    /// Volume of each daemon, in whole Gi or Ti [default: 100Gi]
    #[arg(long, value_name = "QUANTITY")]
    cache_size: Option<String>,

    /// Storage class of the volumes [default: the cluster's]
    #[arg(long, value_name = "NAME")]
    storage_class: Option<String>,

    /// Processors that a node must have free for a daemon [default: 1]
    #[arg(long, value_name = "QUANTITY")]
    cpu: Option<String>,

    /// Memory of a daemon and its steps: what a node must have free, and the limit [default: 4Gi]
    #[arg(long, value_name = "QUANTITY")]
    memory: Option<String>,

    /// Steps that a daemon runs at the same time [default: 4]
    #[arg(long, value_name = "N")]
    max_parallelism: Option<u32>,

    /// Secret with ca.pem, cert.pem and key.pem of the daemons [default: buildkitd-server]
    #[arg(long, value_name = "NAME")]
    tls_secret: Option<String>,

    /// Namespace whose pods may build if they have the clients' label, besides the pool's own; repeat for several
    #[arg(long, value_name = "NAMESPACE")]
    client_namespace: Vec<String>,

    /// Open the port with metrics, which has BuildKit's debugging pages, too
    #[arg(long)]
    metrics: bool,

    /// Namespace that may read metrics, in place of the pool's own; repeat for several
    #[arg(long, value_name = "NAMESPACE", requires = "metrics")]
    metrics_namespace: Vec<String>,

    /// Ask MIRROR before REGISTRY; repeat for several
    #[arg(long, value_name = "REGISTRY=MIRROR")]
    mirror: Vec<String>,

    /// How long a daemon that has to go lets its builds run on [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    drain: Option<Duration>,

    /// Run only on nodes with this label; repeat for several
    #[arg(long, value_name = "KEY=VALUE")]
    node_selector: Vec<String>,

    /// Label of all objects; repeat for several
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// PriorityClass of the pods
    #[arg(long, value_name = "NAME")]
    priority_class: Option<String>,
}

impl BuildkitPoolArgs {
    /// The pool: defaults, the values of `--values`, then the flags.
    pub(crate) fn spec(&self) -> Result<PoolSpec, CliError> {
        let mut spec = self.base()?;
        spec.namespace = self.namespace.clone();
        if !self.platforms.is_empty() {
            spec.platforms = platform::parse_list(&self.platforms)
                .map_err(|error| CliError::platform("--platforms", &error))?;
        }
        set(&mut spec.name, &self.name);
        set(&mut spec.image, &self.image);
        set(&mut spec.replicas, &self.replicas);
        set(&mut spec.cache.size, &self.cache_size);
        set(&mut spec.max_parallelism, &self.max_parallelism);
        set(&mut spec.tls.secret_name, &self.tls_secret);
        if self.storage_class.is_some() {
            spec.cache.storage_class_name = self.storage_class.clone();
        }
        if self.priority_class.is_some() {
            spec.priority_class_name = self.priority_class.clone();
        }
        if let Some(cpu) = &self.cpu {
            spec.resources.requests.0.insert("cpu".to_owned(), cpu.clone());
        }
        if let Some(memory) = &self.memory {
            for quantities in [&mut spec.resources.requests, &mut spec.resources.limits] {
                quantities.0.insert("memory".to_owned(), memory.clone());
            }
        }
        if let Some(drain) = self.drain {
            let seconds = u32::try_from(drain.as_secs()).unwrap_or(u32::MAX);
            spec.drain_seconds = seconds;
        }
        spec.metrics.enabled |= self.metrics;
        spec.metrics.namespaces.extend(self.metrics_namespace.iter().cloned());
        spec.clients.namespaces.extend(self.client_namespace.iter().cloned());
        for text in &self.mirror {
            let Some((registry, mirror)) = text.split_once('=') else {
                return Err(CliError::usage("--mirror", format!("`{text}` is not REGISTRY=MIRROR")));
            };
            spec.mirrors.entry(registry.to_owned()).or_default().push(mirror.to_owned());
        }
        spec.node_selector.extend(value::map("--node-selector", &self.node_selector)?);
        spec.labels.extend(value::map("--label", &self.label)?);
        Ok(spec)
    }

    fn base(&self) -> Result<PoolSpec, CliError> {
        let Some(path) = &self.values else { return Ok(PoolSpec::default()) };
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| CliError::File {
            action: "read",
            path: name.clone(),
            source,
        })?;
        PoolSpec::from_yaml(&text).map_err(|error| CliError::Values { path: name, source: Box::new(error) })
    }

    /// An error in what [`Self::spec`] gave, said about the flag it came from, or else about the file.
    pub(crate) fn refuse(&self, error: &PoolError) -> CliError {
        let flags = [
            ("platforms", "--platforms", !self.platforms.is_empty()),
            ("name", "--name", self.name.is_some()),
            ("namespace", "--namespace", self.namespace.is_some()),
            ("image", "--image", self.image.is_some()),
            ("replicas", "--replicas", self.replicas.is_some()),
            ("cache.size", "--cache-size", self.cache_size.is_some()),
            ("cache.storageClassName", "--storage-class", self.storage_class.is_some()),
            ("resources.requests.cpu", "--cpu", self.cpu.is_some()),
            ("resources.requests.memory", "--memory", self.memory.is_some()),
            ("maxParallelism", "--max-parallelism", self.max_parallelism.is_some()),
            ("tls.secretName", "--tls-secret", self.tls_secret.is_some()),
            ("clients.namespaces", "--client-namespace", !self.client_namespace.is_empty()),
            ("metrics.namespaces", "--metrics-namespace", !self.metrics_namespace.is_empty()),
            ("mirrors", "--mirror", !self.mirror.is_empty()),
            ("drainSeconds", "--drain", self.drain.is_some()),
            ("nodeSelector", "--node-selector", !self.node_selector.is_empty()),
            ("labels", "--label", !self.label.is_empty()),
            ("priorityClassName", "--priority-class", self.priority_class.is_some()),
        ];
        let field = error.field();
        match flags.iter().find(|(name, _, given)| *name == field && *given) {
            Some((_, flag, _)) => CliError::usage(flag, error),
            None => CliError::usage("--values", format!("{field}: {error}")),
        }
    }
}

fn set<T: Clone>(value: &mut T, given: &Option<T>) {
    if let Some(given) = given {
        value.clone_from(given);
    }
}

#[cfg(test)]
mod tests {
    use archway_kubernetes::pool;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Pool {
        #[command(flatten)]
        args: BuildkitPoolArgs,
    }

    fn args(line: &str) -> BuildkitPoolArgs {
        Pool::try_parse_from(["pool"].into_iter().chain(line.split_whitespace())).unwrap().args
    }

    #[test]
    fn every_flag_has_its_place() {
        let line = "--platforms linux/amd64,linux/arm64 --name pool -n ci --image mirror.example/buildkit:1 \
                    --replicas 3 --cache-size 20Gi --storage-class fast --cpu 2 --memory 8Gi --max-parallelism 7 \
                    --tls-secret certs --client-namespace team-a --client-namespace team-b --metrics \
                    --metrics-namespace monitoring --mirror docker.io=a.example --mirror docker.io=b.example \
                    --drain 10m --node-selector pool=builds --label team=ci --priority-class high";
        let spec = args(line).spec().unwrap();
        let values = "name: pool\nplatforms: [linux/amd64, linux/arm64]\nimage: mirror.example/buildkit:1\n\
                      replicas: 3\ncache: {size: 20Gi, storageClassName: fast}\n\
                      resources: {requests: {cpu: 2, memory: 8Gi}, limits: {memory: 8Gi}}\nmaxParallelism: 7\n\
                      tls: {secretName: certs}\nclients: {namespaces: [team-a, team-b]}\n\
                      metrics: {enabled: true, namespaces: [monitoring]}\n\
                      mirrors: {docker.io: [a.example, b.example]}\ndrainSeconds: 600\n\
                      nodeSelector: {pool: builds}\nlabels: {team: ci}\npriorityClassName: high\n";
        let want = PoolSpec { namespace: Some("ci".to_owned()), ..PoolSpec::from_yaml(values).unwrap() };
        assert_eq!(spec, want);
    }

    #[test]
    fn a_mistake_is_said_about_its_flag() {
        let cases = [
            ("--platforms windows/amd64", "--platforms"),
            ("--platforms linux/amd64 --name Pool", "--name"),
            ("--platforms linux/amd64 -n a.b", "--namespace"),
            ("--platforms linux/amd64 --image a\"b", "--image"),
            ("--platforms linux/amd64 --replicas 0", "--replicas"),
            ("--platforms linux/amd64 --cache-size 5G", "--cache-size"),
            ("--platforms linux/amd64 --storage-class A", "--storage-class"),
            ("--platforms linux/amd64 --cpu lots", "--cpu"),
            ("--platforms linux/amd64 --memory 4GB", "--memory"),
            ("--platforms linux/amd64 --max-parallelism 0", "--max-parallelism"),
            ("--platforms linux/amd64 --tls-secret a_b", "--tls-secret"),
            ("--platforms linux/amd64 --client-namespace A", "--client-namespace"),
            ("--platforms linux/amd64 --metrics --metrics-namespace A", "--metrics-namespace"),
            ("--platforms linux/amd64 --mirror docker.io=", "--mirror"),
            ("--platforms linux/amd64 --drain 1s", "--drain"),
            ("--platforms linux/amd64 --node-selector kubernetes.io/arch=arm64", "--node-selector"),
            ("--platforms linux/amd64 --label app.kubernetes.io/name=x", "--label"),
            ("--platforms linux/amd64 --priority-class A", "--priority-class"),
        ];
        for (line, want) in cases {
            let args = args(line);
            let error = pool::manifests(&args.spec().unwrap()).unwrap_err();
            match args.refuse(&error) {
                CliError::Usage { flag, .. } => assert_eq!(flag, want, "{line}: {error}"),
                other => panic!("{line}: {other}"),
            }
        }
        assert!(args("--platforms linux/amd64 --mirror docker.io").spec().is_err());
    }
}
