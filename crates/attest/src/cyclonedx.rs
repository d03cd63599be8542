//! CycloneDX 1.6 as JSON.
//!
//! <https://cyclonedx.org/docs/1.6/json/>; the predicate is `https://cyclonedx.org/bom`.

use serde::Serialize;

use crate::{
    licence::{self, Others},
    packages::{Catalog, Distribution, Package, PackageType},
    sbom::{Image, TOOL, TOOL_VERSION},
};

/// Type of the in-toto predicate.
pub const PREDICATE_TYPE: &str = "https://cyclonedx.org/bom";

/// A CycloneDX document.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
}

#[derive(Debug, Clone, Serialize)]
struct Metadata {
    timestamp: String,
    tools: Tools,
    component: Component,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Debug, Clone, Serialize)]
struct Tools {
    components: [Component; 1],
}

#[derive(Debug, Clone, Serialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bom_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

/// One expression, or names of licences; never both in a list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
enum Licence {
    Expression(String),
    License { name: String },
}

#[derive(Debug, Clone, Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

/// The packages of an image as a CycloneDX document.
pub fn document(image: &Image<'_>, catalog: &Catalog) -> Document {
    let distribution = catalog.distribution.as_ref();
    let described = catalog.packages.iter().map(|package| component(package, distribution));
    let tool = Component {
        kind: "application",
        name: TOOL.to_owned(),
        version: Some(TOOL_VERSION.to_owned()),
        ..Component::default()
    };
    let subject = Component {
        kind: "container",
        bom_ref: Some(image.digest.to_string()),
        name: image.digest.to_string(),
        version: Some(image.digest.to_string()),
        properties: vec![Property { name: "archway:platform", value: image.platform.to_string() }],
        ..Component::default()
    };
    let unread = catalog.unread.iter().map(|unread| Property {
        name: "archway:unread",
        value: format!("{}: {}", unread.path, unread.reason),
    });
    Document {
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: serial_number(image.digest.hex()),
        version: 1,
        metadata: Metadata {
            timestamp: image.time(),
            tools: Tools { components: [tool] },
            component: subject,
            properties: unread.collect(),
        },
        components: distribution.map(operating_system).into_iter().chain(described).collect(),
    }
}

/// A UUID of version 8 (RFC 9562: made as one likes), so that the same image has the same.
fn serial_number(hex: &str) -> String {
    let digits = format!("{hex:0<32}");
    let [a, b, c, d, e] = [&digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..32]];
    format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}")
}

fn operating_system(distribution: &Distribution) -> Component {
    Component {
        kind: "operating-system",
        bom_ref: Some(format!("os:{}", distribution.qualifier())),
        name: distribution.id.clone(),
        version: distribution.version.clone(),
        description: distribution.name.clone(),
        ..Component::default()
    }
}

fn component(package: &Package, distribution: Option<&Distribution>) -> Component {
    let purl = package.purl(distribution);
    let mut properties = source_properties(package);
    properties.extend(
        package.found_in.iter().map(|path| Property { name: "archway:foundIn", value: path.clone() }),
    );
    Component {
        kind: "library",
        bom_ref: Some(purl.clone()),
        publisher: package.supplier.clone(),
        name: package.name.clone(),
        version: Some(package.version.clone()),
        licenses: licences(&package.licences),
        purl: Some(purl),
        properties,
        ..Component::default()
    }
}

/// The source of a package of a distribution, which CycloneDX has no field for, in the properties that trivy reads: by the package URL
/// alone it would look for `libssl3` where vulnerabilities of `openssl` are listed.
fn source_properties(package: &Package) -> Vec<Property> {
    const NAME: &str = "aquasecurity:trivy:SrcName";
    const EPOCH: &str = "aquasecurity:trivy:SrcEpoch";
    const VERSION: &str = "aquasecurity:trivy:SrcVersion";
    const RELEASE: &str = "aquasecurity:trivy:SrcRelease";
    let Some(source) = &package.source else { return Vec::new() };
    let (epoch, version, release) = match package.kind {
        PackageType::Deb => {
            let (epoch, rest) = source.version.split_once(':').unwrap_or(("", &source.version));
            let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
            (epoch, version, release)
        }
        PackageType::Apk => ("", source.version.as_str(), ""),
        // Vulnerabilities of others are listed by the package itself.
        _ => return Vec::new(),
    };
    let stated = [(NAME, source.name.as_str()), (EPOCH, epoch), (VERSION, version), (RELEASE, release)];
    let stated = stated.into_iter().filter(|(_, value)| !value.is_empty());
    stated.map(|(name, value)| Property { name, value: value.to_owned() }).collect()
}

fn licences(stated: &[String]) -> Vec<Licence> {
    let mut others = Others::new();
    match licence::expression(stated, &mut others) {
        None => Vec::new(),
        Some(expression) if others.is_empty() => vec![Licence::Expression(expression)],
        // References to texts that are elsewhere in SPDX are of no use here.
        Some(_) => stated.iter().map(|name| Licence::License { name: name.clone() }).collect(),
    }
}
