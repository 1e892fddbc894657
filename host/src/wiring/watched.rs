//! Parsers whose faults the engine hears of: so they are told and remembered as those of strategies and hooks are.

use std::sync::{Arc, Weak};

use proxywhirl_core::plugin::{Document, FaultCause, Parsed, Parser, PluginFault};
use proxywhirl_engine::Engine;

/// A parser whose faults an engine hears of, as long as there is one.
struct Watched {
    parser: Arc<dyn Parser>,
    engine: Weak<Engine>,
}

/// Lets an engine hear of parsers' faults.
pub(super) fn watched(parsers: Vec<Arc<dyn Parser>>, engine: &Arc<Engine>) -> Vec<Arc<dyn Parser>> {
    let watch = |parser| -> Arc<dyn Parser> { Arc::new(Watched { parser, engine: Arc::downgrade(engine) }) };
    parsers.into_iter().map(watch).collect()
}

impl Watched {
    /// That a document is not in a parser's format is an answer, and no fault.
    fn tell(&self, fault: &PluginFault) {
        if fault.cause != FaultCause::Refused
            && let Some(engine) = self.engine.upgrade()
        {
            engine.parser_faulted(fault);
        }
    }
}

impl Parser for Watched {
    fn name(&self) -> &str {
        self.parser.name()
    }

    fn sniff(&self, document: &Document) -> Result<u8, PluginFault> {
        self.parser.sniff(document).inspect_err(|fault| self.tell(fault))
    }

    fn parse(&self, document: &Document) -> Result<Parsed, PluginFault> {
        self.parser.parse(document).inspect_err(|fault| self.tell(fault))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proxywhirl_core::Scheme;
    use proxywhirl_core::plugin::PluginIdentity;
    use proxywhirl_engine::{EngineConfig, Parts};

    struct Bad(FaultCause);

    impl Parser for Bad {
        fn name(&self) -> &'static str {
            "bad"
        }

        fn sniff(&self, _: &Document) -> Result<u8, PluginFault> {
            Ok(100)
        }

        fn parse(&self, _: &Document) -> Result<Parsed, PluginFault> {
            Err(PluginFault::new(PluginIdentity::named("bad"), "parse", self.0, "of all places"))
        }
    }

    #[tokio::test]
    async fn faults_are_told_and_answers_are_not() {
        let engine = Engine::start(EngineConfig::default(), Parts::default()).unwrap();
        let document = Document {
            url: "-".to_owned(),
            content_type: String::new(),
            body: Arc::from(*b"anything"),
            options: "{}".to_owned(),
            default_scheme: Scheme::Http,
        };
        for cause in [FaultCause::Refused, FaultCause::Trap, FaultCause::Trap] {
            let parsers = watched(vec![Arc::new(Bad(cause))], &engine);
            assert!(parsers[0].parse(&document).is_err());
        }
        let known = engine.plugins();
        let told = known.iter().find(|plugin| plugin.build.name == "bad").unwrap();
        assert_eq!((told.faults, told.kind.as_str()), (2, "parser"));
        engine.stop().await.unwrap();
    }
}
