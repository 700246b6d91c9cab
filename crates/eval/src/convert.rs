//! Values to and from `serde_json`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value as Json};

use crate::context::Context;
use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::sym;
use crate::value::{EvalResult, Ref, Value, View};

impl<'h> Evaluator<'h> {
    /// The JSON of a value, as `builtins.toJSON` has it, and everything its strings depend on.
    pub fn to_json(&self, r: Ref<'h>) -> EvalResult<(Json, Context<'h>)> {
        let mut context = Context::empty();
        let json = self.to_json_in(r, &mut context)?;
        Ok((json, context))
    }

    fn to_json_in(&self, r: Ref<'h>, context: &mut Context<'h>) -> EvalResult<Json> {
        let v = self.force(r)?;
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(s) => Ok(Json::String(s.to_owned())),
            Err(_) => Err(EvalError::new("eval::json", "a string that is not UTF-8 cannot be JSON")),
        };
        self.deeper(|| match v.view() {
            View::Null => Ok(Json::Null),
            View::Bool(b) => Ok(Json::Bool(b)),
            View::Int(n) => Ok(Json::Number(n.into())),
            View::Float(x) => Ok(Number::from_f64(x).map_or(Json::Null, Json::Number)),
            View::String(s) => {
                *context = self.join_contexts(*context, s.context());
                text(s.bytes())
            }
            View::Path(_) => {
                let s = self.coerce_to_string(v, true, false)?;
                *context = self.join_contexts(*context, s.context());
                text(s.bytes())
            }
            View::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    out.push(self.to_json_in(item, context).frame(nbv_diag::Span::NONE, || {
                        format!("while evaluating element {i} of a list")
                    })?);
                }
                Ok(Json::Array(out))
            }
            View::Attrs(attrs) => {
                if attrs.get(sym::TO_STRING).is_some() {
                    let s = self.coerce_to_string(v, true, false)?;
                    *context = self.join_contexts(*context, s.context());
                    return text(s.bytes());
                }
                if let Some(out) = attrs.get(sym::OUT_PATH) {
                    return self.to_json_in(out.value, context);
                }
                let mut map = Map::new();
                for attr in attrs.by_name(self.symbols()) {
                    let json = self.to_json_in(attr.value, context).frame(nbv_diag::Span::new(attr.pos, attr.pos), || {
                        format!("while evaluating the attribute `{}`", self.display(attr.name))
                    })?;
                    map.insert(self.display(attr.name).into_owned(), json);
                }
                Ok(Json::Object(map))
            }
            View::Lambda(_) | View::PrimOp(_) | View::Partial(_) | View::Thunk => {
                Err(EvalError::type_error(format!("cannot convert {} to JSON", v.kind().describe())))
            }
        })
    }

    /// Reads a value into a type of the program's own, deeply forced; as JSON says it (see [`to_json`](Evaluator::to_json)). What the
    /// strings depend on is dropped.
    ///
    /// # Errors
    /// Evaluation fails; a part has no form in JSON (a function); the value has another shape than the type.
    pub fn read<T: DeserializeOwned>(&self, r: Ref<'h>) -> EvalResult<T> {
        let (json, _) = self.to_json(r)?;
        serde_json::from_value(json).map_err(|e| EvalError::type_error(format!("the value has another shape than is wanted: {e}")))
    }

    /// A value out of data of the program: structs are sets, `None` is null.
    ///
    /// # Errors
    /// The data has no form in JSON, such as a map with keys that are no strings.
    pub fn value_of(&self, data: &impl Serialize) -> EvalResult<Value<'h>> {
        let json = serde_json::to_value(data).map_err(|e| EvalError::invalid(format!("the data is no value: {e}")))?;
        Ok(self.from_json(&json))
    }

    /// A value out of JSON. Integers beyond 64 bits become floats.
    pub fn from_json(&self, json: &Json) -> Value<'h> {
        match json {
            Json::Null => Value::null(),
            Json::Bool(b) => Value::bool(*b),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Value::int(n),
                None => Value::float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(s) => self.str(s),
            Json::Array(items) => {
                let cells: Vec<Ref<'h>> = items.iter().map(|item| self.cell(self.from_json(item))).collect();
                self.list(&cells)
            }
            Json::Object(map) => self.attrs(map.iter().map(|(k, v)| self.attr(k, self.from_json(v))).collect()),
        }
    }
}
