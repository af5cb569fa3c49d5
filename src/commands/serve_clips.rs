//! `placard serve-clips`: clips as RTSP cameras, for demonstrations and tests.
//!
//! A real RTSP server (TCP and UDP, RTCP sender reports) in a process of its own, so that a test can kill it. Each clip is sent for ever,
//! its time stamps without a gap; all viewers of a clip share one sender. Prints one line, `ready rtsp://… rtsp://…`, once it listens.

mod clip;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context as _, Result, anyhow};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as rtsp_server;
use gstreamer_rtsp_server::prelude::*;

use super::{Context, Exit, Outcome};
use crate::ingest::credential::Credential;
use clip::Clip;

#[derive(clap::Args)]
pub struct Args {
    /// TCP port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// File with `user:password` that viewers must present.
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// PEM file with a certificate and its key: viewers come by `rtsps://`.
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,
    /// End when standard input ends: no server outlives the test that started it.
    #[arg(long)]
    until_stdin_ends: bool,
    /// What to serve: `door=clip.mkv` is served as `rtsp://…/door`.
    #[arg(value_name = "NAME=FILE", required = true)]
    clips: Vec<String>,
}

/// The role of those who presented the credential.
const VIEWER: &str = "viewer";

pub fn run(_context: &Context, args: Args) -> Outcome {
    gst::init().context("GStreamer")?;
    let credential = args.credential_file.as_deref().map(Credential::read).transpose()?;
    let server = rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&args.port.to_string());
    let mounts = server.mount_points().context("the server has no mount points")?;
    let mut names = vec![];
    for given in &args.clips {
        let (name, file) = given.split_once('=').ok_or_else(|| anyhow!("`{given}`: write NAME=FILE"))?;
        let clip = Arc::new(Clip::load(file.as_ref())?);
        mounts.add_factory(&format!("/{name}"), factory(clip, credential.is_some() || args.tls_certificate.is_some()));
        names.push(name);
    }
    let certificate = args.tls_certificate.as_ref().map(|file| {
        gio::TlsCertificate::from_file(file).with_context(|| format!("{} is no PEM file with a certificate and its key", file.display()))
    });
    let certificate = certificate.transpose()?;
    if credential.is_some() || certificate.is_some() {
        let auth = credential.as_ref().map_or_else(rtsp_server::RTSPAuth::new, authentication);
        if credential.is_none() {
            // Encryption alone asks nobody who they are.
            let mut anybody = rtsp_server::RTSPToken::builder().field(rtsp_server::RTSP_TOKEN_MEDIA_FACTORY_ROLE.as_str(), VIEWER).build();
            auth.set_default_token(Some(&mut anybody));
        }
        auth.set_tls_certificate(certificate.as_ref());
        server.set_auth(Some(&auth));
    }
    let _attached = server.attach(None).with_context(|| format!("port {} cannot be listened on", args.port))?;
    let scheme = if certificate.is_some() { "rtsps" } else { "rtsp" };
    let ready: Vec<String> = names.iter().map(|name| format!(" {scheme}://127.0.0.1:{}/{name}", server.bound_port())).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready{}", ready.concat())?;
    out.flush()?;
    drop(out);
    let main_loop = glib::MainLoop::new(None, false);
    if args.until_stdin_ends {
        end_with_stdin(&main_loop)?;
    }
    main_loop.run();
    Ok(Exit::Success)
}

fn end_with_stdin(main_loop: &glib::MainLoop) -> Result<()> {
    let main_loop = main_loop.clone();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().lock().read(&mut byte), Ok(1..)) {}
        // Not from here: the loop may not have begun.
        glib::idle_add_once(move || main_loop.quit());
    })?;
    Ok(())
}

fn authentication(credential: &Credential) -> rtsp_server::RTSPAuth {
    let auth = rtsp_server::RTSPAuth::new();
    let role = rtsp_server::RTSPToken::builder().field(rtsp_server::RTSP_TOKEN_MEDIA_FACTORY_ROLE.as_str(), VIEWER).build();
    auth.add_basic(&rtsp_server::RTSPAuth::make_basic(credential.user(), credential.password()), &role);
    auth.add_digest(credential.user(), credential.password(), &role);
    auth.set_supported_methods(gstreamer_rtsp::RTSPAuthMethod::Digest);
    auth
}

/// Makes the clip's sender when its first viewer comes.
fn factory(clip: Arc<Clip>, protected: bool) -> rtsp_server::RTSPMediaFactory {
    let factory = rtsp_server::RTSPMediaFactory::new();
    let payloader = if clip.is_h265() { "rtph265pay" } else { "rtph264pay aggregate-mode=zero-latency" };
    // `config-interval=-1`: parameter sets with every key picture, so that a viewer may join at any time.
    factory.set_launch(&format!("( appsrc name=clip is-live=true format=time ! {payloader} name=pay0 pt=96 config-interval=-1 )"));
    factory.set_shared(true);
    if protected {
        let permissions = gst::Structure::builder(VIEWER)
            .field(rtsp_server::RTSP_PERM_MEDIA_FACTORY_ACCESS.as_str(), true)
            .field(rtsp_server::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT.as_str(), true)
            .build();
        factory.add_role_from_structure(&permissions);
    }
    factory.connect_media_configure(move |_, media| {
        let source = media.element().downcast::<gst::Bin>().ok().and_then(|bin| bin.by_name("clip"));
        if let Some(source) = source.and_then(|s| s.downcast::<gst_app::AppSrc>().ok()) {
            feed(&source, Arc::clone(&clip));
        }
    });
    factory
}

/// Hands the sender one access unit whenever it asks; the sender's own clock sets the pace.
fn feed(source: &gst_app::AppSrc, clip: Arc<Clip>) {
    source.set_caps(Some(&clip.caps));
    // A few units ahead of the sender, so that asking for one is never late.
    source.set_max_bytes(256 << 10);
    let next = AtomicU64::new(0);
    let callbacks = gst_app::AppSrcCallbacks::builder().need_data(move |source, _| {
        // An error here is the sender going away; nothing is left to do.
        let _gone = source.push_buffer(clip.unit(next.fetch_add(1, Relaxed)));
    });
    source.set_callbacks(callbacks.build());
}
