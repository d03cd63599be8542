//! Changes to the file. Whatever the user wrote around them - comments, order, spelling - stays.

use std::fmt;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::{ConfigError, Configuration};
use crate::{Endpoint, Node};

/// The text of the file, and what it says.
#[derive(Debug, Clone)]
pub struct Document {
    text: DocumentMut,
    configuration: Configuration,
}

/// A change that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is one already.
    #[error("there is a builder `{name}` already")]
    Exists {
        /// Its name.
        name: String,
    },
    /// There is none.
    #[error("there is no builder `{name}`")]
    Missing {
        /// The name.
        name: String,
    },
    /// It has this daemon already.
    #[error("builder `{name}` has a daemon at {endpoint} already")]
    NodeExists {
        /// Its name.
        name: String,
        /// Where.
        endpoint: Endpoint,
    },
    /// It has no such daemon.
    #[error("builder `{name}` has no daemon at {endpoint}")]
    NodeMissing {
        /// Its name.
        name: String,
        /// Where.
        endpoint: Endpoint,
    },
    /// The builders were written in a way that is read, but not changed here.
    #[error("the nodes of builder `{name}` are not written as [[builder.{name}.node]]")]
    Spelling {
        /// Its name.
        name: String,
    },
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`Configuration::parse`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let configuration = Configuration::parse(text)?;
        let text = text.parse().map_err(|error: toml_edit::TomlError| ConfigError::of(error.to_string()))?;
        Ok(Self { text, configuration })
    }

    /// What it says.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Adds a builder, or (`append`) a daemon to one.
    ///
    /// # Errors
    /// It is there already, or, with `append`, it is not.
    pub fn add(&mut self, name: &str, node: Node, append: bool) -> Result<(), EditError> {
        match self.configuration.builders.get(name) {
            Some(_) if !append => return Err(EditError::Exists { name: name.to_owned() }),
            None if append => return Err(EditError::Missing { name: name.to_owned() }),
            Some(pool) if pool.nodes.iter().any(|other| other.endpoint == node.endpoint) => {
                return Err(EditError::NodeExists { name: name.to_owned(), endpoint: node.endpoint });
            }
            _ => {}
        }
        let item = Item::ArrayOfTables(ArrayOfTables::new());
        let nodes = self.builder(name)?.entry("node").or_insert(item);
        nodes.as_array_of_tables_mut().ok_or_else(|| spelling(name))?.push(table(&node));
        self.configuration.builders.entry(name.to_owned()).or_default().nodes.push(node);
        Ok(())
    }

    /// Removes a builder, which is then not the current one any more.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&mut self, name: &str) -> Result<(), EditError> {
        if self.configuration.builders.remove(name).is_none() {
            return Err(EditError::Missing { name: name.to_owned() });
        }
        if let Some(builders) = self.text.get_mut("builder").and_then(Item::as_table_like_mut) {
            builders.remove(name);
        }
        if self.configuration.current.as_deref() == Some(name) {
            self.select(None);
        }
        Ok(())
    }

    /// Removes a daemon of a builder; with the last one, the builder.
    ///
    /// # Errors
    /// There is no such builder, or it has no such daemon.
    pub fn remove_node(&mut self, name: &str, endpoint: &Endpoint) -> Result<(), EditError> {
        let pool = self.configuration.builders.get_mut(name);
        let pool = pool.ok_or_else(|| EditError::Missing { name: name.to_owned() })?;
        let index = pool.nodes.iter().position(|node| node.endpoint == *endpoint);
        let index = index
            .ok_or_else(|| EditError::NodeMissing { name: name.to_owned(), endpoint: endpoint.clone() })?;
        if pool.nodes.len() == 1 {
            return self.remove(name);
        }
        let nodes = self.builder(name)?.get_mut("node").and_then(Item::as_array_of_tables_mut);
        nodes.ok_or_else(|| spelling(name))?.remove(index);
        if let Some(pool) = self.configuration.builders.get_mut(name) {
            pool.nodes.remove(index);
        }
        Ok(())
    }

    /// Says which builder is used when none is named; `None`: this machine.
    pub fn select(&mut self, name: Option<&str>) {
        self.configuration.current = name.map(str::to_owned);
        match name {
            // The value only, so that a comment behind it stays.
            Some(name) => match self.text.get_mut("current").and_then(Item::as_value_mut) {
                Some(current) => {
                    let decor = current.decor().clone();
                    *current = Value::from(name);
                    *current.decor_mut() = decor;
                }
                None => self.text["current"] = value(name),
            },
            None => {
                self.text.remove("current");
            }
        }
    }

    fn builder(&mut self, name: &str) -> Result<&mut Table, EditError> {
        let implicit = || {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        };
        let builders = self.text.entry("builder").or_insert_with(implicit);
        let builders = builders.as_table_mut().ok_or_else(|| spelling(name))?;
        builders.entry(name).or_insert_with(implicit).as_table_mut().ok_or_else(|| spelling(name))
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn spelling(name: &str) -> EditError {
    EditError::Spelling { name: name.to_owned() }
}

/// One that is written by the types, in their order; tables within are inline.
fn table(node: &Node) -> Table {
    let document = toml_edit::ser::to_document(node).expect("strings, lists and tables");
    let mut table = document.into_table();
    for (_, item) in table.iter_mut() {
        item.make_value();
    }
    table
}
