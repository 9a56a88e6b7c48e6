//! What 3D Slicer and the C++ modules are told of a module of the manifest: its XML, and the table of its parameters.
//!
//! XML: Slicer Execution Model, in the order that CTK's stricter schema asks for.

use transunet::manifest::{Direction, Group, Kind, Manifest, Module, Parameter};

pub fn xml(manifest: &Manifest, module: &Module) -> String {
    let contributors = manifest.contributors.join(", ");
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<executable>\n");
    for (tag, content) in [
        ("category", &manifest.category),
        ("title", &module.title),
        ("description", &module.description),
        ("version", &manifest.version),
        ("license", &manifest.licence),
        ("contributor", &contributors),
        ("acknowledgements", &manifest.citation),
    ] {
        text += &element(1, tag, content);
    }
    for group in &module.groups {
        text += &parameters(manifest, group);
    }
    // Hosts hand over files, not objects in their memory.
    text += "  <parameters advanced=\"true\">\n    <label>Host</label>\n    <description>How images arrive.</description>\n";
    text += "    <boolean hidden=\"true\">\n";
    for (tag, content) in [
        ("name", "AllowInMemoryTransfer"),
        ("longflag", "AllowInMemoryTransfer"),
        ("description", "Images arrive as files."),
        ("label", "Allow transfer in memory"),
        ("default", "false"),
    ] {
        text += &element(3, tag, content);
    }
    text + "    </boolean>\n  </parameters>\n</executable>\n"
}

fn parameters(manifest: &Manifest, group: &Group) -> String {
    let shown: Vec<&Parameter> = group.parameters.iter().filter(|parameter| parameter.slicer).collect();
    if shown.is_empty() {
        return String::new();
    }
    let advanced = if group.advanced { " advanced=\"true\"" } else { "" };
    let mut text = format!("  <parameters{advanced}>\n");
    text += &element(2, "label", &group.label);
    text += &element(2, "description", &group.help);
    for parameter in shown {
        text += &parameter_xml(manifest, parameter);
    }
    text + "  </parameters>\n"
}

fn parameter_xml(manifest: &Manifest, parameter: &Parameter) -> String {
    let endings = format!(" fileExtensions=\"{}\"", parameter.endings.join(","));
    let (tag, attributes) = match parameter.kind {
        Kind::Volume => ("image", endings),
        Kind::Labels => ("image", format!(" type=\"label\"{endings}")),
        Kind::File => ("file", endings),
        Kind::Folder => ("directory", String::new()),
        Kind::Choice | Kind::Model => ("string-enumeration", String::new()),
        Kind::Integer => ("integer", String::new()),
        Kind::Number => ("double", String::new()),
        Kind::Text => ("string", String::new()),
        Kind::Switch => ("boolean", String::new()),
    };
    let mut text = format!("    <{tag}{attributes}>\n");
    text += &element(3, "name", &parameter.name);
    text += &element(3, "longflag", &parameter.name);
    let unset = match (&parameter.default, &parameter.unset) {
        (Some(default), Some(unset)) => format!("; {default}: {unset}"),
        _ => String::new(),
    };
    text += &element(3, "description", &(parameter.help.clone() + &unset));
    text += &element(3, "label", &parameter.label);
    match (&parameter.default, parameter.kind) {
        (Some(default), _) => text += &element(3, "default", &default.to_string()),
        (None, Kind::Switch) => text += &element(3, "default", "false"),
        (None, _) => {}
    }
    if let Some(direction) = parameter.direction {
        text += &element(3, "channel", if direction == Direction::Input { "input" } else { "output" });
    }
    if let Some([low, high]) = parameter.range {
        text += &format!(
            "      <constraints>\n        <minimum>{low}</minimum>\n        <maximum>{high}</maximum>\n        \
             <step>1</step>\n      </constraints>\n"
        );
    }
    for choice in choices(manifest, parameter) {
        text += &element(3, "element", choice);
    }
    text + &format!("    </{tag}>\n")
}

fn choices<'a>(manifest: &'a Manifest, parameter: &'a Parameter) -> Vec<&'a str> {
    match parameter.kind {
        Kind::Model => manifest.models.bundled.iter().map(|model| model.id.as_str()).collect(),
        _ => parameter.choices.iter().map(String::as_str).collect(),
    }
}

/// Macros of the module for C++: names, the XML as a literal, and `P(name, kind, default)` for each parameter.
pub fn include(module: &Module, xml: &str) -> String {
    let mut text = String::from("// Generated from plugin_manifest.yaml by tests/manifest.rs; do not edit.\n");
    text += &format!("#define TRANSUNET_MODULE_ID {}\n", literal(&module.id));
    text += &format!("#define TRANSUNET_MODULE_TITLE {}\n", literal(&module.title));
    text += "#define TRANSUNET_MODULE_PARAMETERS(P)";
    for parameter in module.parameters().filter(|parameter| parameter.slicer) {
        let kind = format!("{:?}", parameter.kind);
        let default = parameter.default.as_ref().map_or(String::new(), ToString::to_string);
        text += &format!(" \\\n  P({}, {kind}, {})", literal(&parameter.name), literal(&default));
    }
    text += &format!(" \\\n  P({}, Switch, \"\")\n#define TRANSUNET_MODULE_XML", literal("AllowInMemoryTransfer"));
    for line in xml.lines() {
        text += &format!(" \\\n  {}", literal(&format!("{line}\n")));
    }
    text + "\n"
}

fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn element(depth: usize, tag: &str, content: &str) -> String {
    let escaped = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("{}<{tag}>{}</{tag}>\n", "  ".repeat(depth), escaped.trim())
}
