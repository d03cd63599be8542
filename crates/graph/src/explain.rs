//! The graph for people: what `archway plan` shows.

use archway_dockerfile::ast::SourceText;
use archway_oci::Platform;
use archway_report::PlatformPlan;
use serde::Serialize;

use crate::op::{Graph, NodeId, Warning};

/// Everything `archway plan` shows, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The requested platforms and how each is built.
    pub platforms: Vec<PlatformPlan>,
    /// The steps, in an order in which they could run.
    pub steps: Vec<PlannedStep>,
    /// How much sharing saves.
    pub totals: Totals,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// One step and who shares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Its node.
    pub id: NodeId,
    /// Name of the stage, or its number.
    pub stage: String,
    /// Position in its stage, from 1.
    pub position: u32,
    /// Number of steps of its stage.
    pub total: u32,
    /// The instruction on one line.
    pub name: String,
    /// `Dockerfile:7`; `None` for the triggers of a base image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The platform of its image or process; `None` where the step is the same on every platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The steps it needs.
    pub inputs: Vec<NodeId>,
    /// The platforms that need it, in request order.
    pub serves: Vec<Platform>,
}

/// Steps in one graph, and in one build for each platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Steps of the graph.
    pub steps: usize,
    /// Steps if every platform were built by itself.
    pub separately: usize,
}

/// The plan of a graph. `source` is the Dockerfile it was made from.
pub fn explain(graph: &Graph, _source: &SourceText) -> Plan {
    let platforms = Vec::new();
    Plan {
        platforms,
        steps: Vec::new(),
        totals: Totals { steps: 0, separately: 0 },
        warnings: graph.warnings.clone(),
    }
}

impl Plan {
    /// The plan as plain text, in lines.
    pub fn render(&self) -> String {
        String::new()
    }
}
