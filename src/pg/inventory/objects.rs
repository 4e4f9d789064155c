//! How object prints are written: kind → schema → name → print, because a flat list says the same words again and again.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ObjectPrint;

type Tree<T> = BTreeMap<T, BTreeMap<T, BTreeMap<T, T>>>;

pub(super) fn serialize<S: Serializer>(objects: &[ObjectPrint], to: S) -> Result<S::Ok, S::Error> {
    let mut tree: Tree<&str> = BTreeMap::new();
    for object in objects {
        let schemas = tree.entry(&object.kind).or_default();
        let names = schemas.entry(&object.schema).or_default();
        names.insert(&object.name, &object.print);
    }
    tree.serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<ObjectPrint>, D::Error> {
    let tree = Tree::<String>::deserialize(from)?;
    let mut objects = Vec::new();
    for (kind, schemas) in tree {
        for (schema, names) in schemas {
            objects.extend(names.into_iter().map(|(name, print)| ObjectPrint {
                kind: kind.clone(),
                schema: schema.clone(),
                name,
                print,
            }));
        }
    }
    Ok(objects)
}
