//! The graph for people: what `archway plan` shows.

use archway_dockerfile::ast::SourceText;
use archway_oci::Platform;
use archway_report::PlatformPlan;
use serde::Serialize;

use crate::{
    op::{Graph, NodeId, Op, Warning},
    strategy,
};

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
pub fn explain(graph: &Graph, source: &SourceText) -> Plan {
    let platforms = graph.outputs.iter().map(|output| PlatformPlan {
        platform: output.platform.clone(),
        strategy: output.strategy,
        reason: output.reason.clone(),
    });
    let is_step = |id: &NodeId| graph.node(*id).label.is_some();
    let steps = graph.nodes.iter().filter_map(|node| {
        let label = node.label.as_ref()?;
        Some(PlannedStep {
            id: node.id,
            stage: label.stage.clone(),
            position: label.position,
            total: label.total,
            name: label.name.clone(),
            location: strategy::location(node, source),
            platform: match &node.op {
                Op::Image(image) => Some(image.platform.clone()),
                Op::Run(run) => Some(run.platform.clone()),
                Op::Scratch | Op::Copy(_) | Op::Mkdir(_) | Op::Git(_) | Op::Http(_) => None,
            },
            inputs: node.op.inputs().into_iter().filter(is_step).collect(),
            serves: node.serves.iter().map(|output| graph.outputs[*output].platform.clone()).collect(),
        })
    });
    let steps: Vec<PlannedStep> = steps.collect();
    let separately = steps.iter().map(|step| step.serves.len()).sum();
    Plan {
        platforms: platforms.collect(),
        totals: Totals { steps: steps.len(), separately },
        steps,
        warnings: graph.warnings.clone(),
    }
}

impl Plan {
    /// The plan as plain text: platforms, steps, totals, warnings.
    pub fn render(&self) -> String {
        let mut blocks = vec![self.render_platforms(), self.render_steps(), self.render_totals()];
        if !self.warnings.is_empty() {
            blocks.push(self.render_warnings());
        }
        blocks.retain(|block| !block.is_empty());
        blocks.join("\n")
    }

    /// The platforms alone, as a table.
    pub fn render_platforms(&self) -> String {
        let rows = self
            .platforms
            .iter()
            .map(|plan| [plan.platform.to_string(), plan.strategy.to_string(), plan.reason.clone()]);
        table(&rows.collect::<Vec<_>>())
    }

    /// The steps alone, as a table.
    pub fn render_steps(&self) -> String {
        let rows = self.steps.iter().map(|step| {
            let on = step.platform.as_ref().map(ToString::to_string).unwrap_or_default();
            [
                format!("{} {}/{}", step.stage, step.position, step.total),
                self.render_serves(step),
                on,
                step.name.clone(),
            ]
        });
        let heading = ["step", "for", "runs on", "instruction"].map(str::to_owned);
        table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
    }

    fn render_serves(&self, step: &PlannedStep) -> String {
        if step.serves.len() == self.platforms.len() && step.serves.len() > 1 {
            return format!("all {}", step.serves.len());
        }
        let names: Vec<String> = step.serves.iter().map(ToString::to_string).collect();
        names.join(", ")
    }

    fn render_totals(&self) -> String {
        let Totals { steps, separately } = self.totals;
        let plural = if steps == 1 { "step" } else { "steps" };
        match separately - steps {
            0 => format!("{steps} {plural}\n"),
            saved => format!(
                "{steps} {plural}, {saved} fewer than the {separately} of one build for each platform\n"
            ),
        }
    }

    fn render_warnings(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            text.push_str(&format!("warning: {}\n", warning.message));
            if let Some(hint) = &warning.hint {
                text.push_str(&format!("   hint: {hint}\n"));
            }
        }
        text
    }
}

/// Columns two spaces apart, the last one ragged.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
