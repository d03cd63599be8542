//! SPDX 2.3 as JSON.
//!
//! <https://spdx.github.io/spdx-spec/v2.3/>; the predicate is that of in-toto, `https://spdx.dev/Document`.

use archway_oci::Digest;
use serde::Serialize;

use crate::{
    licence::{self, Others},
    packages::{Catalog, Distribution, Package, PackageType},
    sbom::{Image, TOOL, TOOL_VERSION},
};

/// Type of the in-toto predicate.
pub const PREDICATE_TYPE: &str = "https://spdx.dev/Document";

const NO_ASSERTION: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const DISTRIBUTION: &str = "SPDXRef-OperatingSystem";

/// An SPDX document.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    packages: Vec<SpdxPackage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<ExtractedLicence>,
    relationships: Vec<Relationship>,
}

#[derive(Debug, Clone, Serialize)]
struct CreationInfo {
    created: String,
    creators: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct SpdxPackage {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: String,
    checksum_value: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtractedLicence {
    license_id: String,
    name: String,
    extracted_text: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: &'static str,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// The packages of an image as an SPDX document.
pub fn document(image: &Image<'_>, catalog: &Catalog) -> Document {
    let distribution = catalog.distribution.as_ref();
    let mut others = Others::new();
    let mut packages = vec![image_package(image)];
    packages.extend(distribution.map(distribution_package));
    packages.extend(catalog.packages.iter().map(|package| {
        let declared = licence::expression(&package.licences, &mut others);
        described(package, distribution, declared)
    }));
    let contained = packages[1..].iter().map(|package| relationship(IMAGE, "CONTAINS", &package.id));
    let relationships =
        std::iter::once(relationship(DOCUMENT, "DESCRIBES", IMAGE)).chain(contained).collect();
    Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: image.digest.to_string(),
        document_namespace: format!(
            "https://archway.dev/spdx/{}/{}",
            image.digest.algorithm(),
            image.digest.hex()
        ),
        creation_info: CreationInfo {
            created: image.time(),
            creators: vec![format!("Tool: {TOOL}-{TOOL_VERSION}")],
        },
        comment: unread(catalog),
        packages,
        has_extracted_licensing_infos: others
            .into_iter()
            .map(|(license_id, text)| ExtractedLicence {
                license_id,
                name: text.clone(),
                extracted_text: text,
            })
            .collect(),
        relationships,
    }
}

/// What the document lacks, and why.
fn unread(catalog: &Catalog) -> Option<String> {
    let lines: Vec<String> =
        catalog.unread.iter().map(|unread| format!("not read: {}: {}", unread.path, unread.reason)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn relationship(from: &'static str, kind: &'static str, to: &str) -> Relationship {
    Relationship { spdx_element_id: from, relationship_type: kind, related_spdx_element: to.to_owned() }
}

/// A package of which nothing is known but its name.
fn unknown(id: &str, name: &str) -> SpdxPackage {
    SpdxPackage {
        id: id.to_owned(),
        name: name.to_owned(),
        version_info: None,
        supplier: None,
        download_location: NO_ASSERTION,
        files_analyzed: false,
        checksums: Vec::new(),
        license_concluded: NO_ASSERTION,
        license_declared: NO_ASSERTION.to_owned(),
        copyright_text: NO_ASSERTION,
        source_info: None,
        external_refs: Vec::new(),
        primary_package_purpose: None,
    }
}

fn image_package(image: &Image<'_>) -> SpdxPackage {
    let checksum = Checksum {
        algorithm: image.digest.algorithm().to_ascii_uppercase(),
        checksum_value: image.digest.hex().to_owned(),
    };
    SpdxPackage {
        version_info: Some(image.digest.to_string()),
        checksums: vec![checksum],
        source_info: Some(format!("container image for {}", image.platform)),
        primary_package_purpose: Some("CONTAINER"),
        ..unknown(IMAGE, &image.digest.to_string())
    }
}

fn distribution_package(distribution: &Distribution) -> SpdxPackage {
    SpdxPackage {
        version_info: distribution.version.clone(),
        primary_package_purpose: Some("OPERATING_SYSTEM"),
        ..unknown(DISTRIBUTION, distribution.name.as_deref().unwrap_or(&distribution.id))
    }
}

fn described(
    package: &Package,
    distribution: Option<&Distribution>,
    declared: Option<String>,
) -> SpdxPackage {
    let purl = package.purl(distribution);
    let kind = package.kind.as_str();
    // Names have characters that identifiers must not have; the hash keeps them apart.
    let readable: String =
        package.name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let id = format!("SPDXRef-Package-{kind}-{readable}-{}", &Digest::sha256(purl.as_bytes()).hex()[..16]);
    let purl_reference = ExternalRef {
        reference_category: "PACKAGE-MANAGER",
        reference_type: "purl",
        reference_locator: purl,
    };
    let of_source =
        package.source.as_ref().map(|source| format!("built from {} {}; ", source.name, source.version));
    SpdxPackage {
        version_info: Some(package.version.clone()),
        supplier: package.supplier.as_deref().map(|supplier| named(package.kind, supplier)),
        license_declared: declared.unwrap_or_else(|| NO_ASSERTION.to_owned()),
        source_info: Some(format!(
            "{}named by {}",
            of_source.unwrap_or_default(),
            package.found_in.join(", ")
        )),
        external_refs: vec![purl_reference],
        ..unknown(&id, &package.name)
    }
}

/// `Person: Name (address)`: dpkg and apk name who maintains a package, rpm who sells it.
fn named(kind: PackageType, supplier: &str) -> String {
    let role = if kind == PackageType::Rpm { "Organization" } else { "Person" };
    match supplier.split_once('<') {
        Some((name, address)) => {
            format!("{role}: {} ({})", name.trim(), address.trim_end_matches('>').trim())
        }
        None => format!("{role}: {}", supplier.trim()),
    }
}
