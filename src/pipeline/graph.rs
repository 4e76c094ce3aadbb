//! A plan as a drawing: Graphviz DOT and Mermaid.

use std::fmt::Write;

use super::plan::{Plan, PlannedStage};
use crate::operators::spec::Section;

impl Plan {
    /// The stages and what flows between them, in Graphviz's DOT.
    pub fn graph_dot(&self) -> String {
        let mut text = format!("digraph \"{}\" {{\n  rankdir=LR;\n", escaped(&self.settings.name));
        text.push_str("  node [fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=10];\n");
        for (index, stage) in self.stages.iter().enumerate() {
            let shape = match stage.spec.section {
                Section::Sources => "folder",
                Section::Operators => "box",
                Section::Sinks => "cylinder",
            };
            let label = format!("{}\\n{}", escaped(&stage.name), escaped(stage.spec.name));
            let bold = if stage.keep { ", style=bold" } else { "" };
            let _ = writeln!(text, "  s{index} [label=\"{label}\", shape={shape}{bold}];");
        }
        for Edge { from, to, label, named } in self.edges() {
            let dashed = if named { ", style=dashed" } else { "" };
            let _ = writeln!(text, "  s{from} -> s{to} [label=\"{}\"{dashed}];", escaped(&label));
        }
        text.push_str("}\n");
        text
    }

    /// The same as a Mermaid flowchart, which Markdown renderers draw.
    pub fn graph_mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (index, stage) in self.stages.iter().enumerate() {
            let (open, close) = match stage.spec.section {
                Section::Sources => ("[/", "/]"),
                Section::Operators => ("[", "]"),
                Section::Sinks => ("[(", ")]"),
            };
            let _ =
                writeln!(text, "  s{index}{open}\"{}<br/><i>{}</i>\"{close}", stage.name, stage.spec.name);
        }
        for Edge { from, to, label, named } in self.edges() {
            let arrow = if named { "-.->" } else { "-->" };
            let _ = writeln!(text, "  s{from} {arrow}|{label}| s{to}");
        }
        text
    }

    fn edges(&self) -> Vec<Edge> {
        let kind = |from: usize| {
            let kind = self.stages.get(from).and_then(|stage: &PlannedStage| stage.output);
            kind.map_or("", |kind| kind.name().trim_start_matches("a ")).to_owned()
        };
        let mut edges = Vec::new();
        for (to, stage) in self.stages.iter().enumerate() {
            edges.extend(stage.inputs.iter().map(|&from| Edge { from, to, label: kind(from), named: false }));
            edges.extend(stage.named().map(|from| Edge { from, to, label: kind(from), named: true }));
        }
        edges
    }
}

/// What flows from one stage to another; `named` when a field names the stage.
struct Edge {
    from: usize,
    to: usize,
    label: String,
    named: bool,
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}
