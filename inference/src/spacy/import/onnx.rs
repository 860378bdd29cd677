//! Owns the part of the ONNX format that is needed to write a graph: messages, and a builder that names results.
//!
//! Field numbers are those of `onnx.proto` (ONNX 1.16, IR version 9).

use prost::Message;

const IR_VERSION: i64 = 9;
const OPSET: i64 = 18;
const FLOAT: i32 = 1;
const INT32: i32 = 6;
const INT64: i32 = 7;
/// `AttributeProto.AttributeType`.
const ATTRIBUTE_FLOAT: i32 = 1;
const ATTRIBUTE_INT: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int32, tag = "20")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

/// A result of the graph, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge(String);

/// An attribute of an operator.
#[derive(Clone, Copy)]
pub(super) enum Setting {
    Integer(&'static str, i64),
    Float(&'static str, f32),
}

/// A graph in the making. The first axis of its inputs and outputs is the number of rows.
#[derive(Default)]
pub(super) struct Graph {
    proto: GraphProto,
}

impl Graph {
    pub(super) fn new(name: &str) -> Self {
        Self {
            proto: GraphProto {
                name: name.to_owned(),
                ..GraphProto::default()
            },
        }
    }

    /// An input of 32-bit integers.
    pub(super) fn integers(&mut self, name: &str, row: &[usize]) -> Edge {
        self.proto.input.push(value_info(name, INT32, row));
        Edge(name.to_owned())
    }

    /// An input of floats.
    pub(super) fn floats(&mut self, name: &str, row: &[usize]) -> Edge {
        self.proto.input.push(value_info(name, FLOAT, row));
        Edge(name.to_owned())
    }

    /// A constant of floats.
    pub(super) fn weights(&mut self, shape: &[usize], values: &[f32]) -> Edge {
        self.constant(
            FLOAT,
            shape,
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    /// A constant list of integers.
    pub(super) fn list(&mut self, values: &[i64]) -> Edge {
        self.constant(
            INT64,
            &[values.len()],
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        )
    }

    /// A constant integer.
    pub(super) fn scalar(&mut self, value: i64) -> Edge {
        self.constant(INT64, &[], value.to_le_bytes().to_vec())
    }

    /// The one result of an operator.
    pub(super) fn apply(&mut self, operator: &str, inputs: &[&Edge], settings: &[Setting]) -> Edge {
        let name = format!("{operator}{}", self.proto.node.len());
        self.push(operator, inputs, vec![name.clone()], settings);
        Edge(name)
    }

    /// The results of an operator that has `count` of them.
    pub(super) fn apply_split(&mut self, inputs: &[&Edge], count: usize, settings: &[Setting]) -> Vec<Edge> {
        let names: Vec<String> = (0..count)
            .map(|part| format!("Split{}_{part}", self.proto.node.len()))
            .collect();
        self.push("Split", inputs, names.clone(), settings);
        names.into_iter().map(Edge).collect()
    }

    /// Makes `edge` an output of the graph.
    pub(super) fn output(&mut self, name: &str, edge: &Edge, row: &[usize]) {
        self.push("Identity", &[edge], vec![name.to_owned()], &[]);
        self.proto.output.push(value_info(name, FLOAT, row));
    }

    /// The graph as a file.
    pub(super) fn finish(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            graph: Some(self.proto),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
        };
        model.encode_to_vec()
    }

    fn push(&mut self, operator: &str, inputs: &[&Edge], output: Vec<String>, settings: &[Setting]) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|edge| edge.0.clone()).collect(),
            name: output[0].clone(),
            output,
            op_type: operator.to_owned(),
            attribute: settings.iter().map(attribute).collect(),
        });
    }

    fn constant(&mut self, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> Edge {
        let name = format!("constant{}", self.proto.initializer.len());
        let dims = shape
            .iter()
            .map(|&length| length.try_into().unwrap_or(i64::MAX))
            .collect();
        self.proto.initializer.push(TensorProto {
            dims,
            data_type,
            name: name.clone(),
            raw_data,
        });
        Edge(name)
    }
}

fn attribute(setting: &Setting) -> AttributeProto {
    let (name, f, i, r#type) = match *setting {
        Setting::Integer(name, value) => (name, 0.0, value, ATTRIBUTE_INT),
        Setting::Float(name, value) => (name, value, 0, ATTRIBUTE_FLOAT),
    };
    AttributeProto {
        name: name.to_owned(),
        f,
        i,
        r#type,
    }
}

fn value_info(name: &str, elem_type: i32, row: &[usize]) -> ValueInfoProto {
    let rows = DimensionProto {
        dim_value: None,
        dim_param: Some("rows".to_owned()),
    };
    let fixed = row.iter().map(|&length| DimensionProto {
        dim_value: length.try_into().ok(),
        dim_param: None,
    });
    let shape = Some(TensorShapeProto {
        dim: std::iter::once(rows).chain(fixed).collect(),
    });
    let r#type = Some(TypeProto {
        tensor_type: Some(TensorTypeProto { elem_type, shape }),
    });
    ValueInfoProto {
        name: name.to_owned(),
        r#type,
    }
}
