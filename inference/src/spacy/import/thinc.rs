//! Owns reading what thinc writes: a model as `MessagePack`, nodes in breadth-first order with their parameters.

use std::collections::HashMap;

use rmpv::Value;

use super::ImportError;

/// How deep `MessagePack` may nest; thinc's models need six levels.
const MAX_DEPTH: usize = 32;

/// A model of thinc's.
pub(super) struct ThincModel {
    file: &'static str,
    nodes: Vec<Node>,
}

/// A layer.
pub(super) struct Node {
    file: &'static str,
    name: String,
    attributes: HashMap<String, Value>,
    parameters: HashMap<String, Tensor>,
    references: HashMap<String, usize>,
}

/// An array of 32-bit floats, the last axis fastest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl ThincModel {
    pub(super) fn read(file: &'static str, content: &[u8]) -> Result<Self, ImportError> {
        let model = message_pack(file, content)?;
        let list = |name| {
            let value = field(file, &model, name)?;
            value
                .as_array()
                .ok_or_else(|| ImportError::damaged(file, format!("{name} is not a list")))
        };
        let (nodes, attributes, parameters) = (list("nodes")?, list("attrs")?, list("params")?);
        if nodes.len() != attributes.len() || nodes.len() != parameters.len() {
            return Err(ImportError::damaged(
                file,
                "its lists of nodes, attributes and parameters differ in length",
            ));
        }
        let nodes = nodes.iter().zip(attributes).zip(parameters);
        let nodes =
            nodes.map(|((node, attributes), parameters)| Node::read(file, node, attributes, parameters));
        Ok(Self {
            file,
            nodes: nodes.collect::<Result<_, _>>()?,
        })
    }

    /// The file that the model was read from.
    pub(super) fn file(&self) -> &'static str {
        self.file
    }

    /// The layers of this name, in the order of the file.
    pub(super) fn named(&self, name: &str) -> Vec<&Node> {
        self.nodes.iter().filter(|node| node.name == name).collect()
    }

    /// The layer to which the model itself refers as `name`.
    pub(super) fn reference(&self, name: &str) -> Result<&Node, ImportError> {
        let place = self.nodes.first().and_then(|root| root.references.get(name));
        place
            .and_then(|&place| self.nodes.get(place))
            .ok_or_else(|| ImportError::damaged(self.file, format!("it has no layer {name}")))
    }
}

impl Node {
    fn read(
        file: &'static str,
        node: &Value,
        attributes: &Value,
        parameters: &Value,
    ) -> Result<Self, ImportError> {
        let name = field(file, node, "name")?.as_str().unwrap_or_default().to_owned();
        let mut read = Self {
            file,
            name,
            attributes: HashMap::new(),
            parameters: HashMap::new(),
            references: HashMap::new(),
        };
        for (name, value) in entries(field(file, node, "refs")?) {
            if let Some(place) = value.as_u64().and_then(|place| usize::try_from(place).ok()) {
                read.references.insert(name, place);
            }
        }
        for (name, value) in entries(attributes) {
            // An attribute is MessagePack within MessagePack.
            if let Some(packed) = value.as_slice() {
                read.attributes.insert(name, message_pack(file, packed)?);
            }
        }
        for (name, value) in entries(parameters).filter(|(_, value)| !value.is_nil()) {
            let tensor = Tensor::read(value).map_err(|what| ImportError::damaged(file, what))?;
            read.parameters.insert(name, tensor);
        }
        Ok(read)
    }

    /// An attribute that is a number.
    pub(super) fn number(&self, name: &str) -> Result<u64, ImportError> {
        let number = self.attributes.get(name).and_then(Value::as_u64);
        number.ok_or_else(|| self.damaged(&format!("has no number {name}")))
    }

    /// An attribute that is a list of names.
    pub(super) fn names(&self, name: &str) -> Result<Vec<String>, ImportError> {
        let list = self.attributes.get(name).and_then(Value::as_array);
        let list = list.ok_or_else(|| self.damaged(&format!("has no list {name}")))?;
        Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// A parameter, which must have this shape.
    pub(super) fn parameter(&self, name: &str, shape: &[usize]) -> Result<&[f32], ImportError> {
        let tensor = self.tensor(name)?;
        if tensor.shape != shape {
            return Err(ImportError::Unsupported(format!(
                "{} has a {} whose {name} is {:?}, only {shape:?} is",
                self.file, self.name, tensor.shape
            )));
        }
        Ok(&tensor.values)
    }

    /// A parameter of any shape.
    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor, ImportError> {
        self.parameters
            .get(name)
            .ok_or_else(|| self.damaged(&format!("has no parameter {name}")))
    }

    fn damaged(&self, what: &str) -> ImportError {
        ImportError::damaged(self.file, format!("its layer {} {what}", self.name))
    }
}

impl Tensor {
    /// An array as `msgpack-numpy` writes it: a map whose keys are bytes.
    fn read(value: &Value) -> Result<Self, String> {
        let part = |name: &str| {
            let found = value
                .as_map()
                .into_iter()
                .flatten()
                .find(|(key, _)| key.as_slice() == Some(name.as_bytes()));
            found
                .map(|(_, value)| value)
                .ok_or_else(|| format!("an array has no {name}"))
        };
        let kind = part("type")?.as_str();
        if kind != Some("<f4") {
            return Err(format!("an array is of type {kind:?}, not <f4"));
        }
        let length = |value: &Value| value.as_u64().and_then(|length| usize::try_from(length).ok());
        let shape = part("shape")?
            .as_array()
            .map(|shape| shape.iter().map(length).collect::<Option<Vec<_>>>());
        let shape = shape.flatten().ok_or("an array has no proper shape")?;
        let data = part("data")?.as_slice().ok_or("an array has no data")?;
        let (values, rest) = data.as_chunks::<4>();
        let expected = shape
            .iter()
            .try_fold(1_usize, |product, &length| product.checked_mul(length));
        if Some(values.len()) != expected || !rest.is_empty() {
            return Err(format!("an array of shape {shape:?} has {} bytes", data.len()));
        }
        Ok(Self {
            shape,
            values: values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        })
    }
}

/// The value that is packed in `content`, and nothing behind it.
pub(super) fn message_pack(file: &str, content: &[u8]) -> Result<Value, ImportError> {
    let mut rest = content;
    let value = rmpv::decode::read_value_with_max_depth(&mut rest, MAX_DEPTH)
        .map_err(|error| ImportError::damaged(file, error))?;
    if !rest.is_empty() {
        return Err(ImportError::damaged(
            file,
            format!("{} bytes follow its end", rest.len()),
        ));
    }
    Ok(value)
}

/// A field of a map.
pub(super) fn field<'v>(file: &str, value: &'v Value, name: &str) -> Result<&'v Value, ImportError> {
    let mut fields = value.as_map().into_iter().flatten();
    let found = fields.find(|(key, _)| key.as_str() == Some(name));
    found
        .map(|(_, value)| value)
        .ok_or_else(|| ImportError::damaged(file, format!("it has no {name}")))
}

fn entries(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    let entries = value.as_map().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[u64], data: &[u8]) -> Value {
        let key = |name: &str| Value::Binary(name.as_bytes().to_vec());
        let shape = shape.iter().map(|&length| length.into()).collect();
        Value::Map(vec![
            (key("type"), "<f4".into()),
            (key("shape"), Value::Array(shape)),
            (key("data"), Value::Binary(data.to_vec())),
        ])
    }

    #[test]
    fn an_array_has_as_many_values_as_its_shape_says() {
        let tensor = Tensor::read(&array(&[2, 1], &[0, 0, 128, 63, 0, 0, 0, 64])).unwrap();
        assert_eq!(
            tensor,
            Tensor {
                shape: vec![2, 1],
                values: vec![1.0, 2.0]
            }
        );
        for (shape, data) in [
            (vec![2, 2], vec![0; 8]),
            (vec![1], vec![0; 3]),
            (vec![u64::MAX, 9], vec![0; 4]),
        ] {
            Tensor::read(&array(&shape, &data)).unwrap_err();
        }
    }

    #[test]
    fn hostile_bytes_are_an_error() {
        for bytes in [
            vec![],
            vec![0x91; 100],
            vec![0xdd, 0xff, 0xff, 0xff, 0xff],
            vec![0x80, 0x80],
        ] {
            assert!(message_pack("ner/model", &bytes).is_err(), "{bytes:?}");
        }
        assert!(ThincModel::read("ner/model", &[0x80]).is_err());
    }
}
