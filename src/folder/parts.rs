//! Model folders within a model folder: models that are averaged, and a small one that says where to look. A recipe names them.

use super::passport::inner_path;
use crate::error::Result;
use crate::json::Node;

/// The members of a recipe that name folders.
pub const ENSEMBLE: &str = "ensemble";
pub const COARSE: &str = "coarse";

/// The folders that a recipe names, each by its path in the folder that the recipe is of.
#[derive(Debug, Default)]
pub struct Parts {
    /// Those that are averaged, in the place of a model of the folder's own.
    pub ensemble: Vec<String>,
    pub coarse: Option<Coarse>,
}

/// The model that says where to look.
#[derive(Debug)]
pub struct Coarse {
    pub folder: String,
    /// Around what it has found.
    pub margin_mm: f64,
}

impl Parts {
    pub fn read(recipe: &Node) -> Result<Self> {
        let mut parts = Self::default();
        if let Some(node) = recipe.find(ENSEMBLE)? {
            for item in node.items()? {
                let folder = inner_path(&item)?;
                if parts.ensemble.contains(&folder) {
                    return Err(item.wrong("the folder is named twice: it would count twice"));
                }
                parts.ensemble.push(folder);
            }
            if parts.ensemble.is_empty() {
                return Err(node.wrong("one folder at least is expected"));
            }
        }
        if let Some(node) = recipe.find(COARSE)? {
            node.only(&["folder", "margin_mm"])?;
            let margin = node.get("margin_mm")?;
            let margin_mm = Some(margin.number()?).filter(|margin| *margin >= 0.0);
            let margin_mm = margin_mm.ok_or_else(|| margin.wrong("millimetres from 0 on are expected"))?;
            parts.coarse = Some(Coarse { folder: inner_path(&node.get("folder")?)?, margin_mm });
        }
        Ok(parts)
    }

    /// All of them.
    pub fn folders(&self) -> impl Iterator<Item = &String> {
        self.ensemble.iter().chain(self.coarse.iter().map(|coarse| &coarse.folder))
    }
}
