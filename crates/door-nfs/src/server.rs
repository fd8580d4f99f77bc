//! Accepts connections, within limits, until told to stop.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection;
use crate::dispatch::Service;
use crate::door::NfsDoor;
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
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let limits = (door.limits.connections_max, door.limits.connections_per_client_max);
                    let Some(guard) = Clients::admit(&clients, address, limits, door.metrics()) else {
                        count(&door.metrics().connections_refused);
                        continue;
                    };
                    count(&door.metrics().connections_accepted);
                    let connection = connection::run(Arc::clone(&door), stream, address, service, stopped.clone());
                    connections.spawn(async move {
                        let _guard = guard;
                        if let Err(error) = connection.await {
                            tracing::debug!(client = %address, error = %error, "nfs connection failed");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "nfs door cannot accept connections for now");
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
    open: Mutex<(usize, HashMap<IpAddr, usize>)>,
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
        (max, per_client_max): (usize, usize),
        metrics: &Arc<NfsMetrics>,
    ) -> Option<ClientGuard> {
        let address = address.ip().to_canonical();
        let mut open = this.open.lock();
        let (total, by_client) = &mut *open;
        let own = by_client.get(&address).copied().unwrap_or(0);
        if *total >= max || own >= per_client_max {
            return None;
        }
        *total += 1;
        by_client.insert(address, own + 1);
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Some(ClientGuard { clients: Arc::clone(this), address, metrics: Arc::clone(metrics) })
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock();
        let (total, by_client) = &mut *open;
        *total -= 1;
        if let Some(own) = by_client.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                by_client.remove(&self.address);
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
        let admit = |text: &str| Clients::admit(&clients, text.parse().unwrap(), (3, 2), &metrics);
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
