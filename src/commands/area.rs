//! `placard area`: which part of a stream's picture shows which zone. Named `STREAM/ZONE`; a zone may have several parts.

use super::fact::{self, Action, Flags, needed};
use super::{Context, Failed, Outcome};
use crate::area::Vertex;
use crate::policy::facts::{AreaFact, Register};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action<AreaFlags>,
}

#[derive(clap::Args, Debug)]
struct AreaFlags {
    /// A stream of the pipeline file.
    #[arg(long)]
    stream: Option<String>,
    /// The zone that this part of its picture shows.
    #[arg(long)]
    zone: Option<String>,
    /// Corners as fractions of the picture, y down: "0,0.2 1,0.2 1,1 0,1".
    #[arg(long, value_name = "CORNERS", value_parser = polygon)]
    polygon: Option<Polygon>,
}

#[derive(Clone, Debug)]
struct Polygon(Vec<Vertex>);

fn polygon(text: &str) -> Result<Polygon, String> {
    let corner = |pair: &str| {
        let (x, y) = pair.split_once(',').ok_or_else(|| format!("`{pair}` is no corner: write X,Y"))?;
        let number = |n: &str| n.parse::<f64>().map_err(|_| format!("`{n}` is no fraction of the picture"));
        Ok([number(x)?, number(y)?])
    };
    text.split_whitespace().map(corner).collect::<Result<Vec<Vertex>, String>>().map(Polygon)
}

impl Flags for AreaFlags {
    type Fact = AreaFact;
    const MANY: bool = true;
    fn fact(self, _register: &Register) -> Result<AreaFact, Failed> {
        let polygon = needed(self.polygon, "--polygon")?.0;
        Ok(AreaFact { stream: needed(self.stream, "--stream")?, zone: needed(self.zone, "--zone")?, polygon })
    }
    fn line(area: &AreaFact) -> String {
        let corners: Vec<String> = area.polygon.iter().map(|[x, y]| format!("{x},{y}")).collect();
        corners.join(" ")
    }
}

pub fn run(context: &Context, args: Args) -> Outcome {
    fact::run(context, args.action)
}
