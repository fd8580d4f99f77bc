//! Accepts connections, within limits, until told to stop.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use strata_gate::client;
use strata_seam::{Said, Stopwatch};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::NfsLimits;
use crate::connection;
use crate::dispatch::Service;
use crate::door::{Budgets, NfsDoor};
use crate::metrics::{NfsMetrics, count};

/// Pause after a failed accept: what fails it (no free descriptors) does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves NFS, MOUNT and portmap on `listener` until `shutdown` resolves; then takes no more requests, and returns
/// when those in work are answered or the drain time is over.
pub async fn serve(listener: TcpListener, door: Arc<NfsDoor>, shutdown: impl Future<Output = ()>) {
    accept(listener, door, Service::All, shutdown).await;
}

/// Serves only portmap on `listener` (usually on port 111), telling `nfs_port` to clients that ask, until `shutdown`
/// resolves. For clients that cannot be told a port.
pub async fn serve_portmap(
    listener: TcpListener,
    door: Arc<NfsDoor>,
    nfs_port: u16,
    shutdown: impl Future<Output = ()>,
) {
    accept(listener, door, Service::Portmap { nfs_port }, shutdown).await;
}

async fn accept(listener: TcpListener, door: Arc<NfsDoor>, service: Service, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(false);
    let clients = Arc::new(Clients::default());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    let (mut said, begun) = (Said::default(), Stopwatch::start());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let Some((guard, budgets)) = Clients::admit(&clients, address, &door.limits, door.metrics()) else {
                        count(&door.metrics().connections_refused);
                        continue;
                    };
                    count(&door.metrics().connections_accepted);
                    let connection = connection::run(Arc::clone(&door), stream, address, service, budgets, stopped.clone());
                    connections.spawn(async move {
                        let _guard = guard;
                        if let Err(error) = connection.await {
                            tracing::debug!(client = %address, error = %error, "nfs connection failed");
                        }
                    });
                }
                Err(error) => {
                    if said.is_new(&error, begun.elapsed().as_nanos() as u64) {
                        tracing::warn!(error = %error, "nfs door cannot accept connections for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(door.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(left = connections.len(), "nfs connections did not end in time and are cut");
        connections.shutdown().await;
    }
}

/// Open connections by client address.
#[derive(Default)]
struct Clients {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_client: HashMap<IpAddr, Client>,
}

/// One address with at least one connection.
struct Client {
    connections: usize,
    budgets: Arc<Budgets>,
}

/// One of the open connections.
struct ClientGuard {
    clients: Arc<Clients>,
    address: IpAddr,
    metrics: Arc<NfsMetrics>,
}

impl Clients {
    fn admit(
        this: &Arc<Self>,
        address: SocketAddr,
        limits: &NfsLimits,
        metrics: &Arc<NfsMetrics>,
    ) -> Option<(ClientGuard, Arc<Budgets>)> {
        let address = client(address.ip());
        let mut open = this.open.lock();
        let own = open.by_client.get(&address).map_or(0, |client| client.connections);
        // Where there are few, one client leaves some to others.
        let share = limits.connections_per_client_max.min((limits.connections_max * 3 / 4).max(1));
        if open.total >= limits.connections_max || own >= share {
            return None;
        }
        open.total += 1;
        let fresh = || Client { connections: 0, budgets: Budgets::of_client(limits) };
        let own = open.by_client.entry(address).or_insert_with(fresh);
        own.connections += 1;
        let budgets = Arc::clone(&own.budgets);
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        let guard = ClientGuard { clients: Arc::clone(this), address, metrics: Arc::clone(metrics) };
        Some((guard, budgets))
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        open.total -= 1;
        if let Some(own) = open.by_client.get_mut(&self.address) {
            own.connections -= 1;
            if own.connections == 0 {
                open.by_client.remove(&self.address);
            }
        }
        self.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_all_and_per_client() {
        let clients = Arc::new(Clients::default());
        let metrics = Arc::default();
        let limits = NfsLimits { connections_max: 3, connections_per_client_max: 2, ..NfsLimits::default() };
        let admit = |text: &str| Clients::admit(&clients, text.parse().unwrap(), &limits, &metrics);
        let first = admit("10.0.0.1:1000").unwrap();
        let _second = admit("10.0.0.1:1001").unwrap();
        assert!(admit("10.0.0.1:1002").is_none());
        let _third = admit("10.0.0.2:1000").unwrap();
        assert!(admit("10.0.0.3:1000").is_none());
        drop(first);
        assert!(admit("10.0.0.3:1000").is_some());
        assert_eq!(metrics.connections.load(Ordering::Relaxed), 2);
    }
}
