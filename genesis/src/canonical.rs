//! The one encoding of a JSON value, for hashing: a tagged tree in borsh, independent of the order of members, of white
//! space and of escapes.
//!
//! - `null`, booleans, strings, arrays (in order) and objects (members sorted by the bytes of their UTF-8 names) keep
//!   their kind.
//! - A number must be an integer from -2^63 to 2^64 - 1, written without fraction and exponent; all others are refused,
//!   because two readers may round them differently.
//! - At most [`MAX_DEPTH`] levels.

use borsh::BorshSerialize;
use serde_json::Value;

/// Most levels of arrays and objects.
pub(crate) const MAX_DEPTH: usize = 64;

/// A canonical JSON value. The order of the variants is the format: append, never reorder.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub(crate) enum Canonical {
    Null,
    Bool(bool),
    Integer(i128),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// The canonical form of a value.
///
/// # Errors
/// The path below `path`, and why the value there has none.
pub(crate) fn canonical(value: &Value, path: &str) -> Result<Canonical, (String, String)> {
    convert(value, path, 0)
}

fn convert(value: &Value, path: &str, depth: usize) -> Result<Canonical, (String, String)> {
    if depth > MAX_DEPTH {
        return Err((path.to_owned(), format!("nested more than {MAX_DEPTH} levels deep")));
    }
    Ok(match value {
        Value::Null => Canonical::Null,
        Value::Bool(b) => Canonical::Bool(*b),
        Value::Number(n) => {
            let integer = n.as_u64().map(i128::from).or_else(|| n.as_i64().map(i128::from));
            Canonical::Integer(integer.ok_or_else(|| {
                (path.to_owned(), format!("{n} is not an integer from -2^63 to 2^64 - 1; use an integer or a string"))
            })?)
        }
        Value::String(s) => Canonical::Text(s.clone()),
        Value::Array(items) => Canonical::List(
            items
                .iter()
                .enumerate()
                .map(|(i, item)| convert(item, &format!("{path}[{i}]"), depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => {
            // Sorted here: whether serde_json keeps the order of the text depends on a feature of it.
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
            Canonical::Object(
                sorted
                    .into_iter()
                    .map(|(name, item)| {
                        convert(item, &format!("{path}.{name}"), depth + 1).map(|value| (name.clone(), value))
                    })
                    .collect::<Result<_, _>>()?,
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use parallax_primitives::encode;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Canonical, (String, String)> {
        canonical(&serde_json::from_str(text).expect("the test's text is JSON"), "p")
    }

    #[test]
    fn order_space_and_escapes_do_not_count_and_kinds_do() {
        let one = of(r#"{"b": [1, "A", null], "a": {"y": true, "x": -5}}"#).expect("integers only");
        let other = of(r#"{"a":{"x":-5,"y":true},"b":[1,"\u0041",null]}"#).expect("integers only");
        assert_eq!(encode(&one), encode(&other));
        for different in
            [r#"{"b":["1","A",null],"a":{"x":-5,"y":true}}"#, r#"{"b":["A",1,null],"a":{"x":-5,"y":true}}"#]
        {
            assert_ne!(encode(&one), encode(&of(different).expect("integers only")));
        }
    }

    #[test]
    fn the_encoding_of_a_value_is_pinned() {
        let value = of(r#"{"k":[true,7,"s"]}"#).expect("integers only");
        assert_eq!(
            hex::encode(encode(&value)),
            "0501000000010000006b0403000000010102070000000000000000000000000000000301000000".to_owned() + "73"
        );
    }

    #[test]
    fn a_fraction_is_refused_with_its_path() {
        let (path, reason) = of(r#"{"a":[0, {"rate": 0.5}]}"#).expect_err("a fraction has no canonical form");
        assert_eq!(path, "p.a[1].rate");
        assert!(reason.contains("0.5"), "{reason}");
        assert!(of("1e3").is_err() && of("1.0").is_err(), "numbers that are written as fractions are refused");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,2}", inner, 0..3)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn two_values_have_one_encoding_exactly_when_they_are_equal(a in json(), b in json()) {
            let (ca, cb) = (canonical(&a, "").expect("integers only"), canonical(&b, "").expect("integers only"));
            prop_assert_eq!(a == b, encode(&ca) == encode(&cb));
        }
    }
}
